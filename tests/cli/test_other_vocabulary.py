"""Law 29: rows of embeddings and readout go to the same symbol of another vocabulary."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from s2s_lightning.checkpoints.checkpoint import data_state, initialise_from, vocabulary_moves
from s2s_lightning.checkpoints.vocabulary_rows import Move
from s2s_lightning.data import BPE, Characters, FromCheckpoint, Pretokenized, Seq2SeqData, Tokenizer, Word, WordPiece
from s2s_lightning.data.vocabularies import Tokenizers
from s2s_lightning.families import Pointer, Transformer
from s2s_lightning.training.module import Seq2SeqModule
from tests.cli.conftest import CONFIG, Run, done

OLD = ["a b c d", "a b c", "a b", "a"]
NEW = ["e d c b", "e d c", "e d", "e"]

Build = Callable[..., Seq2SeqModule]


def learnt(tokenizer: Tokenizer, texts: list[str]) -> Tokenizer:
    tokenizer.train(texts)
    return tokenizer


def model(tokenizers: Tokenizers, family: type[Seq2SeqModule] = Transformer, **options: Any) -> Seq2SeqModule:
    sizes = {"d_model": 8, "num_heads": 2, "d_ff": 8, "num_encoder_layers": 1, "num_decoder_layers": 1}
    if family is Pointer:
        sizes = {"d_embedding": 8, "d_model": 8, "d_score": 4}
    tgt = None if tokenizers.tgt is None else tokenizers.tgt.vocab_size
    made = family(tokenizers.src.vocab_size, tgt, **{**sizes, **options})
    for p in made.parameters():  # biases too, so that each row is its own
        torch.nn.init.normal_(p)
    return made


def data_of(tokenizers: Tokenizers) -> Seq2SeqData:
    data = Seq2SeqData()
    data._tokenizers = tokenizers
    return data


def moved(old: Seq2SeqModule, theirs: Tokenizers, new: Seq2SeqModule, ours: Tokenizers) -> list[str]:
    lines, moves = vocabulary_moves({"Seq2SeqData": {"tokenizers": theirs.state()}}, data_of(ours))
    return [*lines, *initialise_from(new, old.state_dict(), moves)]


KINDS: dict[str, Callable[[list[str]], Tokenizers]] = {
    "joint": lambda texts: Tokenizers(learnt(Pretokenized(), texts), None),
    "separate": lambda texts: Tokenizers(learnt(Word(), texts), learnt(Characters(), [text.upper() for text in texts])),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("family", "tie"), [(Transformer, "all"), (Transformer, "none"), (Pointer, "readout"), (Pointer, "none")]
)
def test_each_row_goes_to_the_same_symbol_and_new_symbols_keep_their_initialisation(
    kind: str, family: type[Seq2SeqModule], tie: str
) -> None:
    theirs, ours = KINDS[kind](OLD), KINDS[kind](NEW)
    old, new = model(theirs, family, tie_embeddings=tie), model(ours, family, tie_embeddings=tie)
    before = {name: tensor.clone() for name, tensor in new.state_dict().items()}
    state = old.state_dict()
    lines = moved(old, theirs, new, ours)
    sides = new.model.vocabulary_rows()
    assert set(sides) == {"src_embedding.weight", "tgt_embedding.weight", "readout.weight", "readout.bias"}
    for name, tensor in new.state_dict().items():
        side = sides.get(name.removeprefix("model."))
        if side is None:
            torch.testing.assert_close(tensor, state[name], rtol=0, atol=0)
            continue
        known, symbols = (t.src.identities() if side == "src" else t.target.identities() for t in (theirs, ours))
        for row, symbol in enumerate(symbols):
            there = state[name][known.index(symbol)] if symbol in known else before[name][row]
            torch.testing.assert_close(tensor[row], there, rtol=0, atol=0)
    first = "joint" if kind == "joint" else "src"
    assert lines == [
        f"{first} vocabulary is another one: 3 symbols keep their rows, 1 are new and stay at their initialisation, "
        "1 of the checkpoint are left out",
        *([lines[1]] if kind == "separate" else []),
    ]


def test_the_same_vocabulary_is_copied_whole_and_nothing_is_said() -> None:
    tokenizers = KINDS["separate"](OLD)
    old, new = model(tokenizers), model(tokenizers)
    assert moved(old, tokenizers, new, KINDS["separate"](OLD)) == []
    assert all(torch.equal(new.state_dict()[name], tensor) for name, tensor in old.state_dict().items())


def test_one_side_of_another_vocabulary_moves_that_side_alone() -> None:
    theirs, other = KINDS["separate"](OLD), KINDS["separate"](NEW)
    ours = Tokenizers(other.src, theirs.tgt)
    lines, moves = vocabulary_moves({"Seq2SeqData": {"tokenizers": theirs.state()}}, data_of(ours))
    assert moves is not None
    assert isinstance(moves["src"], Move)
    assert moves["tgt"] is None
    assert [line.split(" is ")[0] for line in lines] == ["src vocabulary"]


def test_two_tensors_that_become_one_are_said() -> None:
    theirs = KINDS["joint"](OLD)
    old, new = model(theirs, tie_embeddings="none"), model(theirs, tie_embeddings="all")
    lines = moved(old, theirs, new, theirs)
    assert [line.partition(":")[0] for line in lines] == [
        "model.src_embedding.weight and model.tgt_embedding.weight",
        "model.src_embedding.weight and model.readout.weight",
    ]


def test_embeddings_of_another_width_stay_at_their_initialisation_and_are_named() -> None:
    theirs, ours = KINDS["joint"](OLD), KINDS["joint"](NEW)
    new = model(ours, d_model=4)
    before = new.state_dict()["model.src_embedding.weight"].clone()
    assert any(
        line.startswith("model.src_embedding.weight: (8, 8)") for line in moved(model(theirs), theirs, new, ours)
    )
    assert torch.equal(new.state_dict()["model.src_embedding.weight"], before)


@pytest.mark.parametrize("tokenizer", [BPE(300, min_frequency=1), WordPiece(40, min_frequency=1)])
def test_pieces_are_known_by_their_names(tokenizer: Tokenizer) -> None:
    texts = ["the cat sat", "the mat"]
    names = learnt(tokenizer, texts).identities()
    assert len(set(names)) == len(names) == tokenizer.vocab_size


def test_a_space_is_no_other_symbol_that_prints_alike() -> None:
    theirs, ours = Tokenizers(learnt(Characters(), [" "]), None), Tokenizers(learnt(Characters(), ["▁", "a "]), None)
    old, new = model(theirs), model(ours)
    moved(old, theirs, new, ours)
    (row,) = (ours.src.encode([" "]))[0]
    assert torch.equal(rows(new)[row], rows(old)[4])


def rows(made: Seq2SeqModule) -> Tensor:
    return made.state_dict()["model.src_embedding.weight"]


@pytest.mark.parametrize("exported", [False, True])
def test_init_from_moves_rows_on_the_command_line(
    tmp_path: Path, exported: bool, caplog: pytest.LogCaptureFixture
) -> None:
    common = [f"--data.cache_dir={tmp_path}/cache", "--data.corpus=Table", "--trainer.max_steps=1", "--config"]
    (tmp_path / "c.yaml").write_text(
        CONFIG.split("data:")[0] + "attention: {num_items: 0}\ntrainer: {accelerator: cpu}\n"
    )
    for name, texts in (("old", OLD), ("new", NEW)):
        (tmp_path / f"{name}.tsv").write_text("".join(f"{text}\t{text}\n" for text in texts))
    common = [*common, str(tmp_path / "c.yaml"), "--data.tokenizer", "Word"]
    done("fit", *common, f"--data.corpus.train={tmp_path}/old.tsv", "--run", tmp_path / "old")
    start = Run(tmp_path / "old").last
    if exported:
        done("export", start, "--format", "safetensors", "-o", tmp_path / "out")
        start = tmp_path / "out"
    new = ["--data.corpus.train", tmp_path / "new.tsv", "--run", tmp_path / "new", "--optimizer.lr", 1e-12]
    done("fit", *common, *new, "--init_from", start)
    assert "joint vocabulary is another one: 3 symbols keep their rows, 1 are new" in caplog.text
    old, there = (content(Run(tmp_path / name).last) for name in ("old", "new"))
    places = [Tokenizers.from_state(data_state(c)["tokenizers"]).src.identities() for c in (old, there)]
    tables = [c["state_dict"]["model.src_embedding.weight"] for c in (old, there)]
    for symbol in ("b", "c", "d", "</s>"):
        one, other = (table[names.index(symbol)] for table, names in zip(tables, places, strict=True))
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def content(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(path, weights_only=True)
    return loaded


def test_a_side_of_a_checkpoint_keeps_its_rows(tmp_path: Path) -> None:
    theirs = KINDS["separate"](OLD)
    torch.save({"Seq2SeqData": {"tokenizers": theirs.state()}}, tmp_path / "a.ckpt")
    ours = Tokenizers(FromCheckpoint(f"{tmp_path}/a.ckpt", "src"), KINDS["separate"](NEW).tgt)
    _, moves = vocabulary_moves({"Seq2SeqData": {"tokenizers": theirs.state()}}, data_of(ours))
    assert moves is not None
    assert moves["src"] is None
