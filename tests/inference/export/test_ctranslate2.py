"""CTranslate2 with our weights writes what ours writes, or the part that it lacks is named."""

from itertools import product
from pathlib import Path
from typing import Any

import pytest

from s2s_lightning.checkpoints.checkpoint import instantiate
from s2s_lightning.errors import UserError
from s2s_lightning.families import Modern, Transformer
from s2s_lightning.inference.export.ctranslate2 import specification
from s2s_lightning.inference.export.ctranslate2_layers import MAX_POSITIONS
from s2s_lightning.model import Seq2Seq
from s2s_lightning.testing import SRC_VOCAB, TGT_VOCAB
from s2s_lightning.training.module import Seq2SeqModule
from tests.contract.conftest import CONFIGS, build
from tests.inference.export.networks import LONGEST, PAIRS, SIZES, greedy, log_probs, randomised, taught, words

engine = pytest.importorskip("ctranslate2")

AS_OURS = {"min_decoding_length": 0, "suppress_sequences": [["<pad>"], ["<s>"]]}
"""Otherwise it never ends at once, and may write PAD and BOS."""


class Twin:
    """The network in CTranslate2."""

    def __init__(self, model: Seq2Seq, folder: Path, quantization: str | None = None) -> None:
        self.src, self.tgt = words(model.src_embedding.num_embeddings), words(model.tgt_vocab_size)
        spec = specification(model)
        spec.register_source_vocabulary(self.src)
        spec.register_target_vocabulary(self.tgt)
        spec.validate()
        spec.optimize(quantization)
        spec.save(str(folder))
        self.engine = engine.Translator(str(folder), inter_threads=1, intra_threads=1)
        self.lines = [[self.src[i] for i in src] for src, _ in PAIRS]

    def greedy(self) -> list[list[int]]:
        results = self.engine.translate_batch(self.lines, beam_size=1, max_decoding_length=LONGEST, **AS_OURS)
        return [[self.tgt.index(token) for token in result.hypotheses[0]] for result in results]

    def log_probs(self) -> list[list[float]]:
        targets = [[self.tgt[i] for i in tgt] for _, tgt in PAIRS]
        return [result.log_probs for result in self.engine.score_batch(self.lines, targets)]


def check_it_computes_the_same(model: Seq2Seq, folder: Path) -> None:
    twin = Twin(model, folder)
    assert twin.greedy() == greedy(model)
    for theirs, ours in zip(twin.log_probs(), log_probs(model), strict=True):
        assert theirs == pytest.approx(ours, rel=1e-4, abs=1e-4)


TRANSFORMERS = [
    {"norm": norm, "positions": positions, "activation": activation, "tie_embeddings": tie}
    for norm, positions, (activation, tie) in product(
        ["pre", "post"], ["sinusoidal", "learned", "rotary"], [("relu", "none"), ("gelu", "readout")]
    )
]
MODERNS = [
    {"ffn": ffn, "norm": norm, "norm_at": norm_at, "positions": positions}
    for ffn, (norm, norm_at, positions) in product(
        ["swiglu", "geglu", "plain"],
        [("rms", "input", "rotary"), ("rms", "both", "none"), ("layer", "both", "sinusoidal")],
    )
]


@pytest.mark.parametrize("options", TRANSFORMERS, ids=lambda options: " ".join(options.values()))
def test_a_transformer_computes_the_same_there(options: dict[str, Any], tmp_path: Path) -> None:
    model = randomised(Transformer(SRC_VOCAB, TGT_VOCAB, **SIZES, **options))
    check_it_computes_the_same(model, tmp_path)


@pytest.mark.parametrize("options", MODERNS, ids=lambda options: " ".join(options.values()))
def test_a_modern_one_computes_the_same_there(options: dict[str, Any], tmp_path: Path) -> None:
    sizes = {**SIZES, "num_heads": 4, "num_kv_heads": 2}
    model = randomised(Modern(SRC_VOCAB, **sizes, **options, qk_norm=False, tie_embeddings="none"))
    check_it_computes_the_same(model, tmp_path)


@pytest.mark.parametrize("family", [Transformer, Modern])
def test_a_trained_network_computes_the_same_there(family: type[Seq2SeqModule], tmp_path: Path) -> None:
    other = {"qk_norm": False} if family is Modern else {"positions": "rotary"}
    model = taught(family(SRC_VOCAB, TGT_VOCAB, **SIZES, **other, tie_embeddings="none", dropout=0.0))
    check_it_computes_the_same(model, tmp_path)


def test_encoder_and_decoder_may_be_of_two_kinds(tmp_path: Path) -> None:
    families = "s2s_lightning.families"
    layers = {"num_heads": 2, "d_ff": 24}
    parts = {
        "encoder": (f"{families}.modern.ModernEncoder", {**layers, "num_kv_heads": 1, "qk_norm": False}),
        "decoder": (f"{families}.transformer.TransformerDecoder", layers),
    }
    arguments = {
        name: {"class_path": path, "init_args": {"num_layers": 1, "layers": options}}
        for name, (path, options) in parts.items()
    }
    sizes = {"src_vocab_size": SRC_VOCAB, "tgt_vocab_size": TGT_VOCAB, "d_embedding": 16, "tie_embeddings": "none"}
    spec = {"class_path": f"{families}.Hybrid", "init_args": {**sizes, **arguments}}
    model = randomised(instantiate(spec, Seq2SeqModule))
    check_it_computes_the_same(model, tmp_path)


def test_eight_bits_need_less_room_and_change_little(tmp_path: Path) -> None:
    model = taught(Transformer(SRC_VOCAB, TGT_VOCAB, **SIZES, tie_embeddings="none", dropout=0.0))
    rows = Twin(model, tmp_path, "int8").log_probs()
    assert not any(theirs == pytest.approx(ours, abs=1e-4) for theirs, ours in zip(rows, log_probs(model), strict=True))
    for theirs, ours in zip(rows, log_probs(model), strict=True):
        assert theirs == pytest.approx(ours, abs=0.5)
    numbers = sum(parameter.numel() for parameter in model.parameters())
    assert (tmp_path / "model.bin").stat().st_size < 3 * numbers + 4 * MAX_POSITIONS * 2 * SIZES["d_model"]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_what_it_has_no_layers_for_is_named(config: Path) -> None:
    model = build(config).model
    if config.stem == "transformer":
        assert specification(model).decoder.num_heads == 4
        return
    with pytest.raises(UserError, match=r"CTranslate2.*[;:] export it with"):
        specification(model)


def test_a_norm_that_it_lacks_is_named() -> None:
    model = Modern(SRC_VOCAB, **{**SIZES, "num_kv_heads": 1}, norm_at="output", qk_norm=False).model
    with pytest.raises(UserError, match="norm_at=output"):
        specification(model)
