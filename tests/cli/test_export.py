"""export: what it writes is read back bit by bit, for every family and tokenizer; no other folder is harmed."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from s2s_lightning.checkpoints.keys import CHECKPOINT_KEY
from safetensors import safe_open
from tokenizers import Tokenizer as Library
from torch import Tensor

import s2s_lightning
from benchmarks.reduced import reduced
from s2s_lightning.checkpoints.checkpoint import instantiate, read
from s2s_lightning.cli.commands import export
from s2s_lightning.data import BPE, Bytes, Characters, Seq2SeqData, Unigram, Word, WordPiece
from s2s_lightning.data.tokenizers import FromCheckpoint, Tokenizer, TokenizerFile
from s2s_lightning.data.vocabularies import Tokenizers
from s2s_lightning.decoding import Greedy
from s2s_lightning.inference.export.vocabulary import pieces
from s2s_lightning.inference.trained import Trained
from s2s_lightning.training.module import Seq2SeqModule
from tests.cli.conftest import Run, command, done, fitted
from tests.contract.conftest import CONFIGS

TEXTS = ["one two three", "", "two </s> one", "one\u2028two \u0085 three", "\u00e9\U0001f600 one \r\n two"]
TINY = {"model": {"class_path": "s2s_lightning.families.Transformer", "init_args": {
    "d_model": 8, "num_heads": 2, "d_ff": 8, "num_encoder_layers": 1, "num_decoder_layers": 1}}}  # fmt: skip


def learnt(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.train(TEXTS)
    return tokenizer


def checkpoint(path: Path, config: dict[str, Any], tokenizers: Tokenizers, copy: bool = False) -> Path:
    """A checkpoint of an untrained model."""
    tgt = tokenizers.tgt and tokenizers.tgt.vocab_size
    sizes = {"src_vocab_size": tokenizers.src.vocab_size, "tgt_vocab_size": tgt}
    spec = config["model"]
    torch.manual_seed(0)
    module = instantiate({**spec, "init_args": {**spec["init_args"], **sizes}}, Seq2SeqModule)
    content = {
        "class_path": f"{type(module).__module__}.{type(module).__qualname__}",
        "hyper_parameters": sizes,
        CHECKPOINT_KEY: config,
        "Seq2SeqData": {"tokenizers": tokenizers.state(), "copy": copy},
        "state_dict": module.state_dict(),
    }
    torch.save(content, path)
    return path


@torch.no_grad()
def logits(trained: Trained) -> Tensor:
    (batch,) = trained.data.encode_sources(TEXTS)
    model = trained.module.model
    tgt = torch.arange(1, 5).expand(len(TEXTS), -1)
    scores: Tensor = model.scores(model(tgt, model.start(batch.src, batch.src_padding, batch.src_copy)))
    return scores


def check_it_is_read_back(path: Path, folder: Path) -> None:
    done("export", path, "-o", folder)
    ours, theirs = s2s_lightning.load(path), s2s_lightning.load(folder)
    assert torch.equal(logits(ours), logits(theirs))
    assert theirs.data.tokenizers.state() == ours.data.tokenizers.state()
    assert theirs.config == ours.config


@pytest.mark.parametrize("joint", [True, False], ids=["joint", "separate"])
@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_family_is_read_back_bit_by_bit(path: Path, joint: bool, tmp_path: Path) -> None:
    config = yaml.safe_load(path.read_text())
    small = {"model": reduced(config["model"], 16, num_layers=2)}
    tokenizers = Tokenizers(learnt(Word()), None if joint else learnt(Characters()))
    copy = config["data"].get("copy", False)
    if copy:
        tokenizers = tokenizers._replace(tgt=None if joint else learnt(Word(vocab_size=6)))
    check_it_is_read_back(checkpoint(tmp_path / "a.ckpt", small, tokenizers, copy), tmp_path / "out")


KINDS: dict[str, Callable[[], Tokenizer]] = {
    "BPE": lambda: learnt(BPE(vocab_size=280)),
    "Unigram": lambda: learnt(Unigram(vocab_size=280)),
    "WordPiece": lambda: learnt(WordPiece(vocab_size=40)),
    "Characters": lambda: learnt(Characters(lowercase=True)),
    "Word": lambda: learnt(Word(normalization="NFKC")),
    "Bytes": Bytes,
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_tokenizer_is_read_back(kind: str, tmp_path: Path) -> None:
    tokenizers = Tokenizers(KINDS[kind](), learnt(Characters()), reverse_source=True)
    check_it_is_read_back(checkpoint(tmp_path / "a.ckpt", TINY, tokenizers), tmp_path / "out")


@pytest.mark.parametrize("kind", KINDS)
def test_no_two_pieces_of_a_vocabulary_are_alike(kind: str) -> None:
    tokenizer = KINDS[kind]()
    assert len(set(pieces(tokenizer))) == tokenizer.vocab_size
    assert pieces(tokenizer)[:4] == ["<pad>", "<s>", "</s>", "<unk>"]


@pytest.mark.parametrize("kind", ["BPE", "Unigram", "WordPiece"])
def test_a_subword_tokenizer_is_a_file_of_its_library(kind: str, tmp_path: Path) -> None:
    tokenizer = KINDS[kind]()
    done("export", checkpoint(tmp_path / "a.ckpt", TINY, Tokenizers(tokenizer, None)), "-o", tmp_path / "out")
    library = Library.from_file(str(tmp_path / "out" / "tokenizer.json"))
    names = pieces(tokenizer)
    assert library.encode(TEXTS[0]).tokens == [names[i] for i in tokenizer.encode(TEXTS[:1])[0]]


def test_tokenizers_from_elsewhere_need_nothing_of_there(tmp_path: Path) -> None:
    first = checkpoint(tmp_path / "first.ckpt", TINY, Tokenizers(learnt(BPE(vocab_size=280)), None))
    done("export", first, "-o", tmp_path / "first")
    file = TokenizerFile(str(tmp_path / "first" / "tokenizer.json"), unk=" <unk> ", eos=" </s> ")
    second = checkpoint(tmp_path / "second.ckpt", TINY, Tokenizers(file, FromCheckpoint(str(tmp_path / "first"))))
    done("export", second, "-o", tmp_path / "second")
    expected = s2s_lightning.load(second).generate(TEXTS)
    first.unlink()
    (tmp_path / "first").rename(tmp_path / "gone")
    assert s2s_lightning.load(tmp_path / "second").generate(TEXTS) == expected


def test_an_exported_run_generates_and_starts_new_runs(trained: Run, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    done("export", trained.last, "-o", folder)
    (tmp_path / "text").write_text("1 2 3\n\n4\n")
    outputs = [done("generate", path, tmp_path / "text").out for path in (trained.last, folder)]
    assert outputs[0] == outputs[1]
    options = ["--trainer.max_steps", 1, "--optimizer.lr", 0, "--data.corpus", "Generated"]
    new = fitted(tmp_path / "runs", "--init_from", folder, *options)
    before, after = (read(path)["state_dict"] for path in (trained.last, new.last))
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_run_does_not_go_on_from_an_export(trained: Run, tmp_path: Path) -> None:
    done("export", trained.last, "-o", tmp_path / "out")
    for name in ("fit", "test"):
        result = command(name, "--ckpt_path", tmp_path / "out")
        assert result.code == 2
        assert f"fit --init_from {tmp_path / 'out'}" in result.err


def test_tied_weights_are_stored_once_and_said(trained: Run, tmp_path: Path) -> None:
    done("export", trained.last, "-o", tmp_path / "out")
    with safe_open(tmp_path / "out" / "model.safetensors", framework="pt") as file:
        tied, names = json.loads(file.metadata()["tied"]), set(file.keys())
    state = read(trained.last)["state_dict"]
    assert set(tied) | names == set(state)
    assert not set(tied) & names
    assert {"model.src_embedding.weight", "model.tgt_embedding.weight", "model.readout.weight"} == {
        *tied,
        *tied.values(),
    }
    assert len({tensor.data_ptr() for tensor in read(tmp_path / "out")["state_dict"].values()}) == len(names)


def test_nothing_is_pickled_and_an_export_of_an_export_is_the_same(trained: Run, tmp_path: Path) -> None:
    done("export", trained.last, "-o", tmp_path / "a")
    done("export", tmp_path / "a", "-o", tmp_path / "b")
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    ours = ["config.yaml", "digests.json", "model.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    assert files == ["README.md", *ours]
    for name in set(files) - {"model.safetensors", "digests.json"}:  # the header of the weights has no order
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    first, second = (read(tmp_path / name)["state_dict"] for name in ("a", "b"))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_ctranslate2_translates_as_we_generate(trained: Run, tmp_path: Path) -> None:
    """From text to text, as docs/search/exporting.md does it."""
    engine = pytest.importorskip("ctranslate2")
    done("export", trained.last, "-o", tmp_path / "out", "--format", "ctranslate2")
    tokenizers = Seq2SeqData(tokenizers_from=str(tmp_path / "out")).tokenizers
    texts = [f"{i % 6} {i // 6}" for i in range(36)]
    names = pieces(tokenizers.src)
    lines = [[names[i] for i in row] for row in tokenizers.src.encode(texts)]
    results = engine.Translator(str(tmp_path / "out")).translate_batch(
        lines, beam_size=1, max_decoding_length=9, min_decoding_length=0, suppress_sequences=[["<pad>"], ["<s>"]]
    )
    ids = {piece: i for i, piece in enumerate(pieces(tokenizers.target))}
    rows = [[ids[piece] for piece in result.hypotheses[0]] for result in results]
    search = Greedy(max_length=9, max_length_ratio=torch.inf)
    assert tokenizers.target.decode(rows) == s2s_lightning.load(trained.last).generate(texts, search)


def test_quantization_is_passed_on(trained: Run, tmp_path: Path) -> None:
    engine = pytest.importorskip("ctranslate2")
    done("export", trained.last, "-o", tmp_path / "out", "--format=ctranslate2", "--quantization=int8")
    assert engine.Translator(str(tmp_path / "out")).compute_type.startswith("int8")


@pytest.mark.parametrize("format", ["safetensors", "ctranslate2"])
def test_only_an_earlier_export_is_replaced_and_only_by_force(trained: Run, tmp_path: Path, format: str) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "source_vocabulary.json").write_text("of an earlier export")
    result = command("export", trained.last, "-o", tmp_path, "--format", format)
    assert result.code == 2
    assert "not empty" in result.err
    assert "--force" in result.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "source_vocabulary.json"]
    done("export", trained.last, "-o", tmp_path, "--format", format, "--force")
    files = {path.name for path in tmp_path.iterdir()}
    assert (tmp_path / "mine").read_text() == "mine"
    assert "source_vocabulary.json" not in files
    assert files - {"mine", "README.md"} <= set(export.FILES)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["-o", "new", "--quantization", "int8"], "--format ctranslate2"),
        (["-o", "new", "--format", "onnx"], "invalid choice: 'onnx'"),
        (["-o", "new", "--formt", "safetensors"], "did you mean --format?"),
        ([], "-o/--output"),
        (["-o", "text"], "text is a file"),
        (["-o", "text/new"], "cannot be written"),
    ],
)
def test_a_mistake_is_one_line(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").write_text("text")
    result = command("export", trained.last.resolve(), *args)
    assert result.code == 2
    assert said in result.err
    assert result.err.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_what_is_no_model_is_said(trained: Run, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("text")
    (tmp_path / "folder").mkdir()
    done("export", trained.last, "-o", tmp_path / "torn")
    (tmp_path / "torn" / "model.safetensors").write_bytes(b"short")
    expected = {"text": "no checkpoint", "folder": "without model.json", "torn": "damaged", "none": "no checkpoint"}
    for name, said in expected.items():
        result = command("export", tmp_path / name, "-o", tmp_path / "new")
        assert result.code == 2
        assert said in result.err


def test_a_full_disk_leaves_the_earlier_export(trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done("export", trained.last, "-o", tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("s2s_lightning.inference.export.safetensors.write_weights", full)
    result = command("export", trained.last, "-o", tmp_path, "--force")
    assert result.code == 2
    assert "No space left on device" in result.err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_without_the_engine_the_way_to_get_it_is_said(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    result = command("export", trained.last, "-o", tmp_path / "out", "--format", "ctranslate2")
    assert result.code == 2
    assert "pip install 's2s_lightning[export]'" in result.err
