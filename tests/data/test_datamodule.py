"""The data module alone, under Lightning's Trainer, and on the command line."""

import math
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import jsonargparse
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer

from s2s_lightning import EOS, PAD
from s2s_lightning.data import (
    BPE,
    Bytes,
    Characters,
    CheckpointFile,
    Corpus,
    FromCheckpoint,
    Generated,
    Pair,
    Pretokenized,
    Seq2SeqData,
    Table,
    TargetSide,
    TextFiles,
    Unigram,
)
from s2s_lightning.errors import UserError
from s2s_lightning.model import Batch

TASK = {"max_length": 6, "train_pairs": 120, "val_pairs": 20, "test_pairs": 15}


class Answers(Corpus):
    """Two right answers an item."""

    items = (Pair("a b", ("x", "y z")), Pair("", ("x",)), Pair("b", ("y", "z")))

    def has(self, split: str) -> bool:
        return split != "test"

    def read(self, split: str) -> Iterator[Pair]:
        return iter(self.items)


def generated(root: Path, **options: Any) -> Seq2SeqData:
    return Seq2SeqData(Generated("reverse", **TASK), cache_dir=str(root), **{"max_tokens": 64, **options})


def texts(data: Seq2SeqData, batch: Batch) -> list[tuple[str, str]]:
    src = data.tokenizers.src.decode(batch.src.tolist())
    return list(zip(src, data.decode(batch.tgt_out.tolist()), strict=True))


def test_batches_hold_the_text_of_the_corpus(tmp_path: Path) -> None:
    data = generated(tmp_path)
    seen = [pair for batch in data.train_dataloader() for pair in texts(data, batch)]
    assert sorted(seen) == sorted((pair.src, pair.refs[0]) for pair in data.corpus.read("train"))


def test_batches_do_not_depend_on_the_workers(tmp_path: Path) -> None:
    alone, helped = (list(generated(tmp_path, num_workers=n).train_dataloader()) for n in (0, 2))
    for a, b in zip(alone, helped, strict=True):
        torch.testing.assert_close(a[:-1], b[:-1], rtol=0, atol=0)  # nothing is copied, so the last has no tensor


def test_training_sees_each_reference_and_evaluation_each_item(tmp_path: Path) -> None:
    data = Seq2SeqData(Answers(), Pretokenized(), cache_dir=str(tmp_path))
    trained = sorted(pair for batch in data.train_dataloader() for pair in texts(data, batch))
    assert trained == [("", "x"), ("a b", "x"), ("a b", "y z"), ("b", "y"), ("b", "z")]
    (batch,) = data.val_dataloader()
    index = batch.rows.tolist()
    assert sorted(index) == [0, 1, 2]
    assert data.sources("val", index) == [Answers.items[i].src for i in index]
    assert data.references("val", index) == [Answers.items[i].refs for i in index]
    assert texts(data, batch) == [(Answers.items[i].src, Answers.items[i].refs[0]) for i in index]


def test_raw_text_comes_in_batches_whose_order_can_be_restored(tmp_path: Path) -> None:
    data = generated(tmp_path)
    lines = ["1 2 3", "", "4", "9 9 9 9 9 9 9 9", "no digits"] * 20
    restored: dict[int, str] = {}
    for batch in data.encode_sources(lines):
        assert batch.src.numel() <= 64
        assert batch.tgt_out.tolist() == [[EOS]] * len(batch.src)
        restored.update(zip(batch.rows.tolist(), data.tokenizers.src.decode(batch.src.tolist()), strict=True))
    assert [restored[i] for i in range(len(lines))] == ["1 2 3", "", "4", "9 9 9 9 9 9 9 9", "<unk> <unk>"] * 20
    assert list(data.encode_sources([])) == []


def test_long_training_pairs_are_dropped_and_counted_and_evaluation_keeps_all(tmp_path: Path) -> None:
    data = generated(tmp_path, max_length=3)
    lengths = [len(pair.src.split()) for pair in data.corpus.read("train")]
    seen = [length for batch in data.train_dataloader() for length in (batch.src != PAD).sum(1).tolist()]
    assert sorted(seen) == sorted(length + 1 for length in lengths if length <= 3)
    dropped = sum(length > 3 for length in lengths)
    assert ("dropped pairs", f"{dropped} (longer than max_length 3)") in data.summary()
    assert sum(len(batch.src) for batch in data.val_dataloader()) == TASK["val_pairs"]


def test_the_summary_counts_unknown_symbols_and_pairs_over_the_budget(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("aaaa\tb\na\tb\n")
    (tmp_path / "val.tsv").write_text("axyz\tb\n")
    data = Seq2SeqData(Table(str(path), f"{tmp_path}/val.tsv"), Characters(), cache_dir=str(tmp_path), max_tokens=4)
    summary = dict(data.summary())
    assert summary["train pairs"] == "2"
    assert summary["train tokens, src + tgt"] == "5 + 2"
    assert summary["val unknown tokens, src + tgt"] == "3 + 0"
    assert summary["vocabulary, src + tgt"] == "6 (joint)"
    assert summary["pairs longer than a batch"].startswith("1 ")
    assert summary["padding, src + tgt"] == "0.0% + 0.0%"


def test_vocabularies_are_joint_unless_the_target_has_its_own(tmp_path: Path) -> None:
    joint = generated(tmp_path, tokenizer=BPE(300))
    separate = generated(tmp_path, tokenizer=BPE(300), tgt_tokenizer=Bytes())
    assert joint.tgt_vocab_size is None
    assert joint.src_vocab_size == separate.src_vocab_size <= 300
    assert separate.tgt_vocab_size == 260


@pytest.fixture
def checkpoint(tmp_path: Path) -> tuple[str, Seq2SeqData]:
    """A checkpoint as Lightning writes it, of a vocabulary that training would not find again."""
    data = Seq2SeqData(Answers(), Unigram(270), Pretokenized(), cache_dir=str(tmp_path / "first"))
    torch.save({"state_dict": {"w": torch.ones(2)}, "Seq2SeqData": data.state_dict()}, tmp_path / "a.ckpt")
    return str(tmp_path / "a.ckpt"), data


def test_the_tokenizers_of_a_checkpoint_are_used_as_they_are(
    tmp_path: Path, checkpoint: tuple[str, Seq2SeqData]
) -> None:
    path, first = checkpoint
    second = generated(tmp_path, tokenizers_from=path)
    assert second.state_dict()["tokenizers"] == first.state_dict()["tokenizers"]
    assert (second.src_vocab_size, second.tgt_vocab_size) == (first.src_vocab_size, first.tgt_vocab_size)


def test_the_order_of_reading_travels_with_the_tokenizers_and_holds_for_raw_text(tmp_path: Path) -> None:
    first = generated(tmp_path, reverse_source=True)
    torch.save({"Seq2SeqData": first.state_dict()}, tmp_path / "a.ckpt")
    second = generated(tmp_path, tokenizers_from=str(tmp_path / "a.ckpt"))
    forward = generated(tmp_path, tokenizers_from=str(tmp_path / "a.ckpt"), reverse_source=False)
    text = " ".join(first.tokenizers.src.decode([[5, 4, 6]])[0].split())
    ours, theirs, right = (next(iter(data.encode_sources([text]))).src for data in (first, second, forward))
    assert torch.equal(ours, theirs)
    assert ours[0, :-1].tolist() == right[0, :-1].tolist()[::-1]
    assert first.src_tokens(ours[0, :-1].tolist()) == text.split()[::-1]
    reversed_batch, batch = next(iter(first.val_dataloader())), next(iter(forward.val_dataloader()))
    assert torch.equal(reversed_batch.tgt_out, batch.tgt_out)
    assert not torch.equal(reversed_batch.src, batch.src)


def test_one_side_of_a_checkpoint_is_a_tokenizer(tmp_path: Path, checkpoint: tuple[str, Seq2SeqData]) -> None:
    path, first = checkpoint
    data = generated(tmp_path, tokenizer=FromCheckpoint(path, "tgt"), tgt_tokenizer=FromCheckpoint(path))
    assert data.tgt_vocab_size == first.src_vocab_size
    assert data.tokenizers.src.encode(["x y z"]) == first.tokenizers.target.encode(["x y z"])
    state = data.state_dict()
    Path(path).unlink()
    again = generated(tmp_path)
    again.load_state_dict(state)
    assert again.decode([[5, 6]]) == data.decode([[5, 6]])


def test_the_name_of_a_checkpoint_stands_for_its_tokenizers(
    tmp_path: Path, checkpoint: tuple[str, Seq2SeqData]
) -> None:
    path, first = checkpoint
    name = CheckpointFile(path)
    assert generated(tmp_path, tokenizer=name).state_dict()["tokenizers"] == first.state_dict()["tokenizers"]
    sides = generated(tmp_path, tokenizer=name, tgt_tokenizer=name)
    assert sides.state_dict()["tokenizers"] == first.state_dict()["tokenizers"]
    source = generated(tmp_path, tokenizer=name, tgt_tokenizer=Pretokenized()).tokenizers
    assert source.src.frozen() == first.tokenizers.src.frozen()
    assert source.target.frozen() != first.tokenizers.target.frozen()


@pytest.mark.parametrize("tokenizer", [CheckpointFile, lambda path: FromCheckpoint(path, "tgt")])
def test_a_language_model_takes_the_target_vocabulary_of_a_checkpoint(
    tmp_path: Path, checkpoint: tuple[str, Seq2SeqData], tokenizer: Callable[[str], CheckpointFile | FromCheckpoint]
) -> None:
    path, first = checkpoint
    corpus = TargetSide(Answers())
    data = Seq2SeqData(corpus, tokenizer(path), max_tokens=64, cache_dir=str(tmp_path))
    assert data.tokenizers.target.frozen() == first.tokenizers.target.frozen()  # whichever way it came
    assert (data.src_vocab_size, data.tgt_vocab_size) == (first.tgt_vocab_size, None)
    batches = list(data.train_dataloader())
    assert all(batch.src.tolist() == [[EOS]] * len(batch.src) for batch in batches)
    ids = sorted(i for batch in batches for i in batch.rows.tolist())
    assert len(ids) == sum(len(pair.refs) for pair in Answers.items)
    texts = {text for batch in batches for text in first.decode([row[:-1] for row in unpadded(batch.tgt_out)])}
    assert texts == {ref for pair in Answers.items for ref in pair.refs}


def unpadded(ids: torch.Tensor) -> list[list[int]]:
    """Rows without PAD."""
    return [[i for i in row if i != PAD] for row in ids.tolist()]


def test_tokenizers_are_not_trained_again_on_resume(tmp_path: Path, checkpoint: tuple[str, Seq2SeqData]) -> None:
    _, first = checkpoint
    second = Seq2SeqData(Answers(), Unigram(270), Pretokenized(), cache_dir=str(tmp_path / "second"))
    second.prepare()
    second.load_state_dict(first.state_dict())
    assert second.state_dict() == first.state_dict()
    for ours, theirs in zip(second.train_dataloader(), first.train_dataloader(), strict=True):
        assert torch.equal(ours.src, theirs.src)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such checkpoint"), (b"text", "not a checkpoint"), ({"state_dict": {}}, "holds no tokenizers")],
)
def test_what_is_no_checkpoint_is_named(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "b.ckpt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(UserError, match=rf"b\.ckpt: .*{message}"):
        _ = generated(tmp_path, tokenizers_from=str(path)).src_vocab_size


@pytest.mark.parametrize("options", [{"max_tokens": 0}, {"batch_size": -1}, {"max_length": 0}, {"eval_max_tokens": 0}])
def test_sizes_below_one_are_refused(options: dict[str, int]) -> None:
    ((name, value),) = options.items()
    with pytest.raises(UserError, match=f"{name}={value}"):
        Seq2SeqData(**options)


def test_a_missing_or_empty_split_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("")
    for corpus, message in [
        (Table(val=f"{tmp_path}/a.tsv"), "Table has no train split"),
        (Table(f"{tmp_path}/a.tsv"), "the train split of Table is empty"),
    ]:
        with pytest.raises(UserError, match=message):
            Seq2SeqData(corpus, Bytes(), cache_dir=str(tmp_path)).train_dataloader()
    with pytest.raises(UserError, match="BPE learns its vocabulary from a training split"):
        Seq2SeqData(Table(val=f"{tmp_path}/a.tsv"), cache_dir=str(tmp_path)).prepare()
    (tmp_path / "a.tsv").write_text("long\tlong\n")
    with pytest.raises(UserError, match="max_length=1 drops all"):
        Seq2SeqData(Table(f"{tmp_path}/a.tsv"), Bytes(), cache_dir=str(tmp_path), max_length=1).train_dataloader()


class Recorder(LightningModule):
    """Keeps the batches of each optimizer step."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.windows: list[list[Batch]] = [[]]
        self.epochs: list[list[Batch]] = []
        self.validated: list[int] = []

    def on_train_epoch_start(self) -> None:
        self.epochs.append([])

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        self.windows[-1].append(batch)
        self.epochs[-1].append(batch)
        return self.weight

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        self.windows.append([])

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.validated += batch.rows.tolist()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(data: Seq2SeqData, root: Path, **options: Any) -> Recorder:
    recorder = Recorder()
    quiet = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    quiet |= {"enable_model_summary": False, "num_sanity_val_steps": 0, "default_root_dir": root}
    Trainer(**quiet, **options).fit(recorder, datamodule=data)
    return recorder


@pytest.mark.parametrize("limit", [1.0, 0.6, 7])
def test_the_divisor_is_that_of_the_steps_lightning_takes(tmp_path: Path, limit: int | float) -> None:
    recorder = fit(generated(tmp_path), tmp_path, max_epochs=2, accumulate_grad_batches=4, limit_train_batches=limit)
    *windows, rest = recorder.windows
    assert rest == []
    assert len(windows) == 2 * math.ceil(len(recorder.epochs[0]) / 4)
    for window in windows:
        tokens = sum(int((batch.tgt_out != PAD).sum()) for batch in window)
        assert {float(batch.divisor) for batch in window} == {tokens}


def test_each_epoch_of_lightning_sees_every_pair_in_another_order(tmp_path: Path) -> None:
    data = generated(tmp_path)
    first, second = ([batch.rows.tolist() for batch in epoch] for epoch in fit(data, tmp_path, max_epochs=2).epochs)
    assert sorted(chain(*first)) == sorted(chain(*second)) == list(range(TASK["train_pairs"]))
    assert first != second


def test_validation_sees_every_item_once(tmp_path: Path) -> None:
    assert sorted(fit(generated(tmp_path), tmp_path, max_epochs=1).validated) == list(range(TASK["val_pairs"]))


def test_overfitting_repeats_the_same_batches(tmp_path: Path) -> None:
    first, second = fit(generated(tmp_path), tmp_path, max_epochs=2, overfit_batches=2).epochs
    assert len(first) == 2
    assert all(torch.equal(a.src, b.src) for a, b in zip(first, second, strict=True))


def parse(*arguments: str) -> Seq2SeqData:
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(Seq2SeqData, "data")
    return parser.instantiate_classes(parser.parse_args(list(arguments))).data


def test_corpus_and_tokenizers_are_named_by_their_short_class_names(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("0\ta\tb\n")
    data = parse(
        *("--data.corpus", "Table", "--data.corpus.train", f"{tmp_path}/train.tsv"),
        *("--data.corpus.src", "1", "--data.corpus.tgt=2", "--data.tokenizer", "BPE"),
        *("--data.tokenizer.vocab_size", "300", "--data.tgt_tokenizer", "Characters"),
        *("--data.max_tokens", "100", f"--data.cache_dir={tmp_path}"),
    )
    assert list(data.corpus.read("train")) == [Pair("a", ("b",))]
    assert data.src_vocab_size <= 300
    assert data.tgt_vocab_size == 5


def test_several_reference_files_are_a_list_on_the_command_line(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(f"{name}\n")
    paths = [f"{tmp_path}/{name}" for name in ("a", "b", "c")]
    data = parse(
        *("--data.corpus", "TextFiles", "--data.corpus.test_src", paths[0]),
        *("--data.corpus.test_tgt", f"[{paths[1]}, {paths[2]}]"),
    )
    assert isinstance(data.corpus, TextFiles)
    assert list(data.corpus.read("test")) == [Pair("a", ("b", "c"))]


USERS_FILE = '''
from s2s_lightning.data import Corpus, Pair, SymbolTokenizer


class Weekdays(Corpus):
    def __init__(self, days: int = 2) -> None:
        self.days = days

    def has(self, split):
        return split == "train"

    def read(self, split):
        return (Pair(day, (day[::-1],)) for day in ("mon", "tue", "wed")[: self.days])


class Pieces(SymbolTokenizer):
    """Two letters at a time."""

    def split(self, text):
        return [text[i : i + 2] for i in range(0, len(text), 2)]

    def join(self, symbols):
        return "".join(symbols)
'''


def test_a_users_corpus_and_tokenizer_come_in_by_class_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weekdays_of_mine.py").write_text(USERS_FILE)
    monkeypatch.syspath_prepend(tmp_path)
    data = parse(
        *("--data.corpus", "weekdays_of_mine.Weekdays", "--data.corpus.days", "3"),
        *("--data.tokenizer", "weekdays_of_mine.Pieces", "--data.tokenizer.min_frequency", "1"),
        f"--data.cache_dir={tmp_path}",
    )
    (batch,) = data.train_dataloader()
    assert sorted(texts(data, batch)) == [("mon", "nom"), ("tue", "eut"), ("wed", "dew")]
    again = generated(tmp_path)
    again.load_state_dict(data.state_dict())
    assert again.tokenizers.src.encode(["tuewed"]) == data.tokenizers.src.encode(["tuewed"])
