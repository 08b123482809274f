"""Marian and Pegasus with our weights write what our Transformer writes."""

from itertools import product
from typing import Any

import pytest
import torch

from s2s_lightning import BOS, EOS, PAD
from s2s_lightning.families import Transformer
from s2s_lightning.model import Seq2Seq
from s2s_lightning.testing import SRC_VOCAB, TGT_VOCAB, batch_of
from tests.inference.export.networks import LONGEST, PAIRS, SIZES, greedy, padded, randomised, taught

pytest.importorskip("transformers")

from benchmarks.hugging_face import twin

OPTIONS = [
    {"norm": norm, "positions": positions, "tie_embeddings": tie}
    for norm, positions, tie in product(["pre", "post"], ["sinusoidal", "learned"], ["none", "all"])
]


def generated(reference: Any) -> list[list[int]]:
    src, padding = padded()
    rows = reference.generate(
        src, attention_mask=(~padding).long(), num_beams=1, do_sample=False, max_length=LONGEST + 1
    )
    return [[token for token in row if token not in (PAD, BOS, EOS)] for row in rows.tolist()]


@torch.no_grad()
def check_it_computes_the_same(model: Seq2Seq) -> None:
    assert generated(twin(model, 32)) == greedy(model)
    batch, model = batch_of(PAIRS), model.double()
    reference = twin_in_double(model)
    theirs = reference(input_ids=batch.src, attention_mask=~batch.src_padding, decoder_input_ids=batch.tgt_in).logits
    torch.testing.assert_close(theirs, model.scores(model.teacher_force(batch)), rtol=0, atol=1e-9)


def twin_in_double(model: Seq2Seq) -> Any:
    """With tables of positions in float64 too."""
    torch.set_default_dtype(torch.float64)
    try:
        return twin(model, 32)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("tgt_vocab_size", [None, TGT_VOCAB])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: " ".join(options.values()))
def test_a_twin_of_random_weights_computes_the_same(options: dict[str, Any], tgt_vocab_size: int | None) -> None:
    check_it_computes_the_same(randomised(Transformer(SRC_VOCAB, tgt_vocab_size, **SIZES, **options)))


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_a_twin_of_a_trained_network_computes_the_same(norm: str) -> None:
    model = Transformer(SRC_VOCAB, TGT_VOCAB, **SIZES, norm=norm, activation="gelu", dropout=0.0)
    check_it_computes_the_same(taught(model))
