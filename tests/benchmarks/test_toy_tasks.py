"""Law 7: each kind of architecture learns a generated task, and a fixed vector holds less than attention finds."""

from functools import partial
from typing import NamedTuple

import pytest
import torch

from benchmarks.toy_tasks import exact_match, learn
from s2s_lightning.data import Generated, Seq2SeqData
from s2s_lightning.data.corpora.generated import Task
from s2s_lightning.families import LSTM, ConvS2S, GatedDeltaNet, Luong, MinGRU, Transformer
from s2s_lightning.objectives import LabelSmoothedCrossEntropy
from s2s_lightning.training.module import Seq2SeqModule

RECURRENT = {"d_embedding": 32, "d_model": 64, "num_layers": 1, "dropout": 0.0}
CONVOLUTIONAL = {"d_embedding": 64, "d_model": 64, "num_encoder_layers": 2, "num_decoder_layers": 2, "dropout": 0.0}
ATTENTION = {"d_model": 64, "d_ff": 128, "num_encoder_layers": 1, "num_decoder_layers": 1, "dropout": 0.0}
BACKWARD, ROTARY = {"direction": "backward"}, {"positions": "rotary"}


class Case(NamedTuple):
    """A family, and what it is to learn."""

    family: type[Seq2SeqModule]
    sizes: dict[str, object]
    lr: float
    task: Task
    max_length: int

    def data(self) -> Seq2SeqData:
        corpus = Generated(self.task, max_length=self.max_length, symbols=8, train_pairs=20_000)
        return Seq2SeqData(corpus, max_tokens=512, eval_max_tokens=4096)

    def module(self, data: Seq2SeqData, seed: int) -> Seq2SeqModule:
        """New weights, without label smoothing."""
        torch.manual_seed(seed)
        module = self.family(data.src_vocab_size, **self.sizes)
        module.optimizer = partial(torch.optim.Adam, lr=self.lr)
        module.objective = LabelSmoothedCrossEntropy(0.0)
        return module


CASES = {
    "fixed vector": Case(LSTM, RECURRENT | BACKWARD, 5e-3, "copy", 4),
    "attentive": Case(Luong, RECURRENT, 5e-3, "sort", 6),
    "convolutional": Case(ConvS2S, CONVOLUTIONAL, 2e-3, "copy", 8),
    "scan": Case(MinGRU, ATTENTION, 3e-3, "copy", 6),
    "matrix state": Case(GatedDeltaNet, ATTENTION, 3e-3, "reverse", 4),
    "attention": Case(Transformer, ATTENTION | ROTARY, 2e-3, "reverse", 6),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_family_of_each_kind_learns_a_task(case: Case) -> None:
    data = case.data()
    module, validation = case.module(data, seed=0), list(data.val_dataloader())
    learn(module, data, lambda step: step == 1000 or (step % 50 == 0 and exact_match(module, validation) >= 0.998))
    assert exact_match(module, data.test_dataloader()) >= 0.98


@pytest.mark.parametrize("seed", [0, 1])
def test_a_fixed_vector_is_worse_than_attention_on_longer_copies(seed: int) -> None:
    fixed, attentive = (copying(family, seed) for family in (LSTM, Luong))
    assert attentive > fixed + 0.25


def copying(family: type[Seq2SeqModule], seed: int) -> float:
    """Exact match after 300 steps of copying up to 12 tokens, at one width, learning rate and order of the data."""
    case = Case(family, RECURRENT, 5e-3, "copy", 12)
    data = case.data()
    module = case.module(data, seed)
    learn(module, data, lambda step: step == 300)
    return exact_match(module, data.test_dataloader())
