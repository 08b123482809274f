"""Encoders and decoders of different families combine by class path, and keep the laws."""

import inspect
from collections.abc import Iterator

import pytest
import torch

import s2s_lightning.families  # noqa: F401  it imports all of them
from benchmarks.reduced import reduced
from s2s_lightning.checkpoints.checkpoint import instantiate
from s2s_lightning.families import Hybrid
from s2s_lightning.model import Decoder, Encoder, Seq2Seq
from s2s_lightning.testing import SRC_VOCAB, TGT_VOCAB, batch_of, random_pairs
from tests.families.laws import BASIC

BELONG_TOGETHER = {
    "EmbeddedSource": "it encodes nothing: the decoder of a prefix LM does",
    "PointerDecoder": "its gate needs the readout that copies",
}
"""Parts that are of no use in a hybrid, and why."""


def parts(base: type) -> list[str]:
    """Class paths of the families' encoders or decoders that need nothing but what ``Hybrid`` gives them."""
    given = {Encoder: 1, Decoder: 2}[base]
    found = {
        f"{part.__module__}.{part.__name__}"
        for part in descendants(base)
        if part.__module__.startswith("s2s_lightning.") and part.__name__ not in BELONG_TOGETHER
        if all(p.default is not p.empty for p in list(inspect.signature(part).parameters.values())[given:])
    }
    return sorted(found)


def descendants(base: type) -> Iterator[type]:
    for child in base.__subclasses__():
        yield child
        yield from descendants(child)


def hybrid(encoder: str, decoder: str) -> Seq2Seq:
    torch.manual_seed(0)
    sides = {"encoder": {"class_path": encoder}, "decoder": {"class_path": decoder}}
    sizes = {"src_vocab_size": SRC_VOCAB, "tgt_vocab_size": TGT_VOCAB, "d_embedding": 16}
    spec = reduced({"class_path": "s2s_lightning.families.Hybrid", "init_args": {**sides, **sizes}}, 16)
    module: Hybrid = instantiate(spec, Hybrid)
    return module.double().eval().model


def check(model: Seq2Seq) -> None:
    """Laws 1, 2 and 4, and a gradient for each part."""
    for law in BASIC:
        law.check(model)
    batch = batch_of(random_pairs(3))
    model.cross_entropy(model.teacher_force(batch), batch.tgt_out, 0.1).sum.backward()
    for part in (model.encoder, model.decoder):
        assert all(parameter.grad is not None for parameter in part.parameters())


def name(path: str) -> str:
    return path.rsplit(".", 1)[-1]


@pytest.mark.parametrize("encoder", parts(Encoder), ids=name)
def test_an_attentive_gru_reads_every_encoder(encoder: str) -> None:
    check(hybrid(encoder, "s2s_lightning.families.bahdanau.BahdanauDecoder"))


@pytest.mark.parametrize("decoder", parts(Decoder), ids=name)
def test_every_decoder_reads_a_transformers_encoder(decoder: str) -> None:
    check(hybrid("s2s_lightning.families.transformer.TransformerEncoder", decoder))


def test_the_families_have_parts_to_combine() -> None:
    assert len(parts(Encoder)) >= 13
    assert len(parts(Decoder)) >= 18
