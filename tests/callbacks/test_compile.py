"""``--compile``: the same training, for any shape with what the first ones have compiled."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch._dynamo.utils import counters

from s2s_lightning.callbacks.diagnostics.first_non_finite import locate
from s2s_lightning.callbacks.weights.compile import Compile
from s2s_lightning.data import Seq2SeqData
from s2s_lightning.data.corpora import Generated
from s2s_lightning.families import LSTM, Transformer
from s2s_lightning.training.module import Seq2SeqModule
from tests.cli.conftest import CONFIG, command
from tests.helpers.toy import ToyModule, toy_batch, toy_trainer


class Graphs(Callback):
    """How many graphs there are after each step and after validation, and the shapes of the batches."""

    def __init__(self) -> None:
        self.counts: list[int] = []
        self.shapes: list[tuple[int, ...]] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, i: int
    ) -> None:
        self.counts.append(counters["stats"]["unique_graphs"])
        self.shapes.append((*batch.src.shape, batch.tgt_in.shape[1]))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.validated = counters["stats"]["unique_graphs"]


SMALL = {"d_embedding": 8, "d_model": 16, "num_layers": 1, "dropout": 0.0}

NETWORKS: dict[str, Callable[[], Seq2SeqModule]] = {
    "transformer": partial(
        Transformer, 17, 13, d_model=16, num_heads=2, d_ff=32, num_encoder_layers=1, num_decoder_layers=1, dropout=0.0
    ),
    "lstm": partial(LSTM, 17, 13, **SMALL),
}


def fit(folder: Path, family: str, *callbacks: Callback) -> Seq2SeqModule:
    """An epoch in float64."""
    torch.manual_seed(0)
    module = NETWORKS[family]()
    module.optimizer = partial(torch.optim.SGD, lr=0.1)
    corpus = Generated("copy", min_length=12, max_length=32, symbols=6, train_pairs=60, val_pairs=6, test_pairs=0)
    data = Seq2SeqData(corpus, max_tokens=150)
    toy_trainer(folder, callbacks=[*callbacks], precision="64-true").fit(module, datamodule=data)
    return module


@pytest.mark.parametrize("family", ["transformer", "lstm"])
def test_new_shapes_are_not_compiled_anew_and_the_weights_are_those_without(tmp_path: Path, family: str) -> None:
    torch._dynamo.reset()
    counters.clear()
    graphs = Graphs()
    compiled, plain = fit(tmp_path, family, Compile("eager"), graphs), fit(tmp_path, family)
    # Targets of less than 12 tokens, which attention reads in another way, would be a second kind.
    assert len(set(graphs.shapes[-4:]) - set(graphs.shapes[:-4])) > 2
    assert 0 < graphs.counts[-5] == graphs.counts[-1]
    assert graphs.validated == graphs.counts[-1]  # a search has nothing compiled
    assert family != "transformer" or not counters["graph_break"]
    for one, other in zip(compiled.state_dict().items(), plain.state_dict().items(), strict=True):
        assert one[0] == other[0]
        torch.testing.assert_close(one[1], other[1], rtol=0, atol=1e-10)


def compiled_toy() -> Seq2SeqModule:
    """In training mode."""
    module = ToyModule().train()
    Compile("eager").on_fit_start(toy_trainer("."), module)
    return module


def test_what_is_not_finite_is_found_in_a_compiled_network() -> None:
    module, batch = compiled_toy(), toy_batch([("ab", "cd"), ("ef", "gh")])
    loss = partial(lambda batch: module.objective(module.model, batch).sum)
    assert locate(module.model, loss, batch) is None
    module.model.encoder.norm.register_forward_hook(lambda *_: torch.full((2, 3, 6), torch.nan, dtype=torch.float64))
    finding = locate(module.model, loss, batch)
    assert finding is not None
    assert "encoder.norm" in finding.what


def test_nothing_stays_compiled_after_training() -> None:
    module = compiled_toy()
    assert "teacher_force" in vars(module.model)
    Compile("eager").teardown(toy_trainer("."), module, "fit")
    assert "teacher_force" not in vars(module.model)


def test_without_a_compiler_one_line_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    result = command("fit", "--config", tmp_path / "tiny.yaml", "--compile", "true", "--run", tmp_path / "run")
    assert result.code == 2
    assert "error: --compile needs a C++ compiler on a CPU" in result.err
