"""What is prepared is found again by its content, by any number of processes; nothing half made is ever used."""

from collections.abc import Iterable, Iterator, Sequence
from multiprocessing import get_context
from pathlib import Path

import pytest

from s2s_lightning.data import BPE, Corpus, Generated, Pair, Seq2SeqData, Table, Tokenizer
from s2s_lightning.data.cache import cached
from s2s_lightning.errors import UserError

SMALL = {"max_length": 5, "train_pairs": 60, "val_pairs": 10, "test_pairs": 10}


class Numbers(Corpus):
    """Counts how often each split is read."""

    def __init__(self, pairs: int = 50) -> None:
        self.pairs = pairs
        self.reads: list[str] = []

    def has(self, split: str) -> bool:
        return True

    def read(self, split: str) -> Iterator[Pair]:
        self.reads.append(split)
        return (Pair(f"{split} {i}", (str(i),)) for i in range(self.pairs))

    def fingerprint(self, split: str) -> str:
        return f"numbers {split} {self.pairs}"


def contents(root: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in root.rglob("*") if path.suffix in (".arrow", ".json")}


def test_the_second_start_prepares_nothing(tmp_path: Path) -> None:
    first, second = Numbers(), Numbers()
    Seq2SeqData(first, BPE(300), cache_dir=str(tmp_path)).prepare()
    made = contents(tmp_path)
    data = Seq2SeqData(second, BPE(300), cache_dir=str(tmp_path))
    data.prepare()
    assert sorted(set(first.reads)) == ["test", "train", "val"]
    assert second.reads == []
    assert contents(tmp_path) == made
    assert len(made) == 4


@pytest.mark.parametrize(
    "other", [(Numbers(51), BPE(300)), (Numbers(), BPE(301)), (Numbers(), BPE(300, lowercase=True))]
)
def test_other_content_or_options_are_prepared_anew(tmp_path: Path, other: tuple[Numbers, BPE]) -> None:
    Seq2SeqData(Numbers(), BPE(300), cache_dir=str(tmp_path)).prepare()
    made = contents(tmp_path)
    Seq2SeqData(*other, cache_dir=str(tmp_path)).prepare()
    assert len(contents(tmp_path)) == 2 * len(made)


def test_a_changed_file_is_prepared_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    sizes = []
    for rows in (3, 4):
        path.write_text("a\tb\n" * rows)
        data = Seq2SeqData(Table(str(path)), BPE(300), cache_dir=str(tmp_path))
        sizes.append(data.store("train").info.pairs)
    assert sizes == [3, 4]


def prepare(root: str) -> tuple[str, int]:
    data = Seq2SeqData(Generated("copy", **SMALL), BPE(270), cache_dir=root)
    data.prepare()
    return str(data.state_dict()), data.store("train").info.src_tokens


def test_processes_that_start_together_agree(tmp_path: Path) -> None:
    with get_context("fork").Pool(2) as pool:
        results = pool.map(prepare, [str(tmp_path)] * 4, chunksize=1)
    assert len(set(results)) == 1
    assert len(contents(tmp_path)) == 4


def test_a_build_that_dies_leaves_nothing_that_looks_complete(tmp_path: Path) -> None:
    def dies(path: Path) -> None:
        path.write_text("half")
        raise KeyboardInterrupt

    path = tmp_path / "x" / "made"
    with pytest.raises(KeyboardInterrupt):
        cached(path, dies)
    assert not path.exists()
    assert cached(path, lambda partial: partial.write_text("whole") and None).read_text() == "whole"


def test_a_cache_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cache_dir or \$S2S_LIGHTNING_CACHE"):
        Seq2SeqData(Numbers(), BPE(300), cache_dir=str(tmp_path / "file")).prepare()


def test_the_folder_of_the_cache_is_the_environments_unless_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("S2S_LIGHTNING_CACHE", str(tmp_path / "environment"))
    Seq2SeqData(Numbers(), BPE(300)).prepare()
    Seq2SeqData(Numbers(), BPE(300), cache_dir=str(tmp_path / "given")).prepare()
    assert len(contents(tmp_path / "environment")) == len(contents(tmp_path / "given")) == 4


class Shouting(Tokenizer):
    """A user's tokenizer: options and source file are its key."""

    def __init__(self, marks: int = 1) -> None:
        self.marks = marks

    vocab_size = 5

    def train(self, texts: Iterable[str]) -> None:
        """There is nothing to learn."""

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [[4] * self.marks for _ in texts]

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        return ["!" * len(row) for row in ids]

    def state(self) -> str:
        return str(self.marks)

    @classmethod
    def load(cls, state: str) -> "Shouting":
        return cls(int(state))


def test_a_users_tokenizer_is_known_by_its_options() -> None:
    assert Shouting(2).spec() == Shouting(2).spec()
    assert Shouting(2).spec() != Shouting(3).spec()
