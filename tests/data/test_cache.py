"""What is prepared is found again by its content, by any number of processes; nothing half made is ever used."""

import json
import os
import resource
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pyarrow as pa
import pytest

from s2s_lightning.data import BPE, Characters, Corpus, Generated, Pair, Seq2SeqData, Table, Tokenizer
from s2s_lightning.data.cache import cached
from s2s_lightning.data.corpora.corpus import Split
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

    with pytest.raises(KeyboardInterrupt):
        cached(tmp_path, "x/made", dies, Path.read_text)
    assert not (tmp_path / "x" / "made").exists()
    assert cached(tmp_path, "x/made", lambda partial: partial.write_text("whole") and None, Path.read_text) == "whole"


def broken(path: Path, kind: str) -> None:
    """Leave what a power failure, a full disk or another program leaves."""
    content = path.read_bytes()
    path.unlink()
    if kind == "foreign":
        other = pa.record_batch({"x": [1, 2]})
        with pa.ipc.new_file(str(path), other.schema) as writer:
            writer.write_batch(other)
    elif kind == "link":
        path.with_name("planted").write_bytes(content)
        path.symlink_to(path.with_name("planted"))
    else:
        path.write_bytes({"empty": b"", "cut": content[: len(content) // 2], "zeros": bytes(len(content))}[kind])


@pytest.mark.parametrize("kind", ["empty", "cut", "zeros", "foreign", "link"])
@pytest.mark.parametrize("pattern", ["ids/*.arrow", "tokenizers/*.json"])
def test_a_corrupt_file_is_made_anew_with_one_line(
    tmp_path: Path, pattern: str, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Seq2SeqData(Numbers(), BPE(300), cache_dir=str(tmp_path)).prepare()
    path = next(tmp_path.glob(pattern))
    whole = path.read_bytes()
    broken(path, kind)
    for lines in 1, 0:
        Seq2SeqData(Numbers(), BPE(300), cache_dir=str(tmp_path)).prepare()
        said = capsys.readouterr().err
        assert said.count("\n") == lines
        assert (f"{path} is corrupt" in said) == bool(lines)
    assert path.read_bytes() == whole
    assert not path.is_symlink()


def test_a_cached_tokenizer_names_no_class(tmp_path: Path) -> None:
    Seq2SeqData(Numbers(), BPE(300), cache_dir=str(tmp_path)).prepare()
    (path,) = tmp_path.glob("tokenizers/*.json")
    path.write_text(json.dumps({"class_path": "os.system", "state": f"touch {tmp_path}/ran"}))
    assert isinstance(Seq2SeqData(Numbers(), BPE(300), cache_dir=str(tmp_path)).tokenizers.src, BPE)
    assert not (tmp_path / "ran").exists()


def permissions(root: Path) -> dict[str, int]:
    kinds = {"folder": root, "ids": root / "ids", "file": next(root.glob("ids/*.arrow"))}
    return {kind: path.stat().st_mode & 0o777 for kind, path in kinds.items()}


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_a_cache_is_for_its_user_alone(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        Seq2SeqData(Numbers(), BPE(300), cache_dir=str(tmp_path / "cache")).prepare()
    finally:
        os.umask(before)
    assert permissions(tmp_path / "cache") == {"folder": 0o700, "ids": 0o700, "file": 0o600}
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "cache").rglob("*"))


def test_a_folder_that_a_group_shares_on_purpose_stays_shared(tmp_path: Path) -> None:
    tmp_path.chmod(0o2770)
    Seq2SeqData(Numbers(), BPE(300), cache_dir=str(tmp_path)).prepare()
    assert permissions(tmp_path) == {"folder": 0o770, "ids": 0o770, "file": 0o660}


@pytest.mark.parametrize("planted", ["ids", "tokenizers"])
def test_a_link_in_a_cache_that_others_can_write_is_not_followed(tmp_path: Path, planted: str) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o777)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "cache" / planted).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=f"{planted} is a link, and no link within a cache is followed"):
        Seq2SeqData(Numbers(), BPE(300), cache_dir=str(tmp_path / "cache")).prepare()
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("suffix", ["", ".partial", ".lock"])
def test_a_link_in_the_place_of_a_file_is_not_written_through(tmp_path: Path, suffix: str) -> None:
    victim, folder = tmp_path / "victim", tmp_path / "cache" / "ids"
    victim.write_text("precious")
    folder.mkdir(parents=True)
    (folder / f"x{suffix}").symlink_to(victim)
    build = cached(tmp_path / "cache", "ids/x", lambda path: path.write_text("made") and None, Path.read_text)
    assert build == "made"
    assert victim.read_text() == "precious"


@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("given", ["", "ids", "ids/x"])
def test_what_belongs_to_another_user_is_refused(tmp_path: Path, given: str) -> None:
    root = tmp_path / "cache"
    build = partial(cached, root, "ids/x", lambda path: path.write_text("made") and None, Path.read_text)
    build()
    os.chown(root / given, 65534, -1)
    with pytest.raises(UserError, match="belongs to another user"):
        build()
    root.chmod(0o770)  # shared on purpose
    (root / "ids").chmod(0o770)
    assert build() == "made"


def test_a_text_that_changes_while_it_is_read_is_not_cached(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("a\tb\n")

    class Slow(Table):
        def rows(self, split: Split) -> Iterator[Pair]:
            yield from super().rows(split)
            path.write_text("cc\tdd\n")

    with pytest.raises(UserError, match="changed while they were read"):
        Seq2SeqData(Slow(str(path)), Characters(), cache_dir=str(tmp_path / "cache")).store("train")
    assert not [path for path in tmp_path.glob("cache/*/*") if path.suffix != ".lock"]


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(UserError, match=r"the cache cannot be written \(File too large\)"):
            Seq2SeqData(Numbers(), Characters(), cache_dir=str(tmp_path)).prepare()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.glob("*/*.partial"))


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
