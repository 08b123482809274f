"""Every kind of corpus gives the same pairs; splits, references and errors."""

import csv
import gzip
import json
import lzma
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from s2s_lightning.data import CMUDict, Corpus, Generated, Hub, Pair, Saved, Table, TargetSide, TextFiles
from s2s_lightning.data.corpora import SPLITS
from s2s_lightning.errors import UserError

ROWS = [("ein Hund", "a dog"), ("NA", "null"), ("", 'it\'s "so"'), ("zwei, drei", "two, three"), ("a\u2028b", "None")]
PAIRS = [Pair(src, (tgt,)) for src, tgt in ROWS]

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".zst": partial(pa.compress, codec="zstd", asbytes=True),
}


def compress(path: Path, ending: str) -> str:
    packed = path.with_name(path.name + ending)
    packed.write_bytes(COMPRESS[ending](path.read_bytes()))
    return str(packed)


def tsv(path: Path, rows: list[tuple[str, str]] = ROWS) -> Table:
    path.write_text("".join(f"{src}\t{tgt}\n" for src, tgt in rows))
    return Table(str(path))


def write_tsv(path: Path) -> tuple[int, int]:
    path.write_text("".join(f"{i}\t{src}\t{tgt}\n" for i, (src, tgt) in enumerate(ROWS)))
    return 1, 2


def write_tsv_with_header(path: Path) -> tuple[str, str]:
    path.write_text("\ufeffde\ten\n" + "".join(f"{src}\t{tgt}\r\n" for src, tgt in ROWS))
    return "de", "en"


def write_csv(path: Path) -> tuple[str, str]:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("en", "de"), *((tgt, src) for src, tgt in ROWS)])
    return "de", "en"


def write_jsonl(path: Path) -> tuple[str, str]:
    rows = ({"id": 7, "translation": {"de": src, "en": tgt}} for src, tgt in ROWS)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return "translation.de", "translation.en"


def write_parquet(path: Path) -> tuple[str, str]:
    translation = [{"de": src, "en": tgt} for src, tgt in ROWS]
    pq.write_table(pa.table({"id": list(range(len(ROWS))), "translation": translation}), path, row_group_size=2)
    return "translation.de", "translation.en"


WRITERS = [
    ("a.tsv", write_tsv),
    ("a.tsv", write_tsv_with_header),
    ("a.csv", write_csv),
    ("a.jsonl", write_jsonl),
    ("a.parquet", write_parquet),
]


@pytest.mark.parametrize("ending", COMPRESS)
@pytest.mark.parametrize(("name", "write"), WRITERS)
def test_tables_of_every_format_and_compression_give_the_same_pairs(
    tmp_path: Path, name: str, write: Callable[[Path], tuple[str | int, str | int]], ending: str
) -> None:
    src, tgt = write(tmp_path / name)
    corpus = Table(compress(tmp_path / name, ending), src=src, tgt=tgt)
    assert list(corpus.read("train")) == PAIRS
    assert [corpus.has(split) for split in SPLITS] == [True, False, False]


@pytest.mark.parametrize("ending", COMPRESS)
def test_parallel_files_give_the_same_pairs(tmp_path: Path, ending: str) -> None:
    for side, texts in zip(("de", "en"), zip(*ROWS, strict=True), strict=True):
        (tmp_path / side).write_text("".join(f"{text}\n" for text in texts))
        compress(tmp_path / side, ending)
    assert list(TextFiles(f"{tmp_path}/de{ending}", f"{tmp_path}/en{ending}").read("train")) == PAIRS


def test_data_sets_in_memory_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def fingerprint(first: int, count: int) -> str:
        rows = datasets.Dataset.from_list([{"src": src, "tgt": tgt} for src, tgt in ROWS])
        chosen = {"train": rows.select(range(first, first + count)).flatten_indices(keep_in_memory=True)}
        monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: chosen)
        return Hub("memory", "src", "tgt").fingerprint("train")

    assert fingerprint(0, 2) == fingerprint(0, 2)
    assert len({fingerprint(0, 1), fingerprint(0, 2), fingerprint(1, 1)}) == 3


def test_data_sets_of_the_library_give_the_same_pairs(tmp_path: Path) -> None:
    from datasets import Dataset, DatasetDict

    rows = Dataset.from_list([{"translation": {"de": src, "en": tgt}} for src, tgt in ROWS])
    columns = {"src": "translation.de", "tgt": "translation.en"}
    DatasetDict({"train": rows, "validation": rows}).save_to_disk(tmp_path / "both")
    rows.save_to_disk(tmp_path / "one")
    rows.to_parquet(tmp_path / "hub" / "train.parquet")
    both, one, hub = (
        Saved(f"{tmp_path}/both", **columns),
        Saved(f"{tmp_path}/one", **columns),
        Hub(f"{tmp_path}/hub", **columns),
    )
    assert list(both.read("train")) == list(both.read("val")) == PAIRS
    assert list(one.read("train")) == list(hub.read("train")) == PAIRS
    assert [both.has(split) for split in SPLITS] == [True, True, False]
    assert one.fingerprint("train") == Saved(f"{tmp_path}/one", **columns).fingerprint("train")
    for corpus, message in [
        (Saved(f"{tmp_path}/none", "a", "b"), "none: no such folder"),
        (Saved(f"{tmp_path}", "a", "b"), "save_to_disk"),
        (Saved(f"{tmp_path}/both", "de", "translation.en"), "no column 'de'"),
        (Saved(f"{tmp_path}/both", "translation.fr", "translation.en"), "no column 'translation.fr'"),
        (Saved(f"{tmp_path}/both", "a", "b", val="dev"), "no split 'dev'.*train, validation"),
        (Hub(f"{tmp_path}/nowhere/at_all", "a", "b"), "cannot be loaded"),
    ]:
        with pytest.raises(UserError, match=message):
            list(corpus.read("train"))


def test_several_reference_files_are_several_right_answers(tmp_path: Path) -> None:
    for name, lines in {"src": "1\n2\n", "a": "one\ntwo\n", "b": "uno\ndue\n"}.items():
        (tmp_path / name).write_text(lines)
    paths = {name: f"{tmp_path}/{name}" for name in ("src", "a", "b")}
    corpus = TextFiles(paths["src"], paths["a"], test_src=paths["src"], test_tgt=[paths["a"], paths["b"]])
    assert list(corpus.read("test")) == [Pair("1", ("one", "uno")), Pair("2", ("two", "due"))]


def test_a_column_may_hold_a_list_of_references(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"q": "1+1", "a": ["2", "two"]}\n')
    pq.write_table(pa.table({"q": ["1+1"], "a": [["2", "two"]]}), tmp_path / "a.parquet")
    for name in ("a.jsonl", "a.parquet"):
        corpus = Table(test=f"{tmp_path}/{name}", src="q", tgt="a")
        assert list(corpus.read("test")) == [Pair("1+1", ("2", "two"))]


def test_rows_of_equal_source_are_one_item_in_evaluation_and_pairs_in_training(tmp_path: Path) -> None:
    rows = [("a", "1"), ("b", "2"), ("a", "3"), ("a", "1")]
    tsv(tmp_path / "a.tsv", rows)
    corpus = Table(f"{tmp_path}/a.tsv", test=f"{tmp_path}/a.tsv", group_references=True)
    assert list(corpus.read("test")) == [Pair("a", ("1", "3")), Pair("b", ("2",))]
    assert len(list(corpus.read("train"))) == 4


def test_held_out_sources_leave_training_with_all_their_rows(tmp_path: Path) -> None:
    rows = [(f"word {i % 50}", str(i)) for i in range(150)]
    tsv(tmp_path / "a.tsv", rows)
    corpus = Table(f"{tmp_path}/a.tsv", hold_out=7)
    train, val = ({pair.src for pair in corpus.read(split)} for split in ("train", "val"))
    assert len(val) == 7
    assert train | val == {src for src, _ in rows}
    assert not train & val
    assert len([*corpus.read("train"), *corpus.read("val")]) == 150
    other = {pair.src for pair in Table(f"{tmp_path}/a.tsv", hold_out=7, seed=1).read("val")}
    assert other != val


def test_holding_out_does_not_depend_on_the_order_of_rows(tmp_path: Path) -> None:
    rows = [(f"word {i}", str(i)) for i in range(60)]
    sources = []
    for name, order in (("a.tsv", rows), ("b.tsv", rows[::-1])):
        tsv(tmp_path / name, order)
        sources.append({pair.src for pair in Table(f"{tmp_path}/{name}", hold_out=5).read("val")})
    assert sources[0] == sources[1]


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("a.tsv", "a\tb\nc\n", {}, r"a\.tsv, row 2: 1 columns, but column 1"),
        ("a.tsv", "de\ten\na\tb\n", {"src": "fr", "tgt": "en"}, "no column 'fr'; its first row names de, en"),
        ("a.csv", "a,b\nc,d\r\re\n", {}, r"a\.csv, line 2: not CSV"),
        ("a.jsonl", '{"a": 1}\n{"a"\n', {"src": "a", "tgt": "a"}, r"a\.jsonl, row 1: 1 and 1"),
        ("a.jsonl", '{"a": "x"}\n{"a"\n', {"src": "a", "tgt": "a"}, r"a\.jsonl, line 2: not JSON"),
        ("a.jsonl", '{"a": "x"}\n', {"src": "a", "tgt": "b.c"}, r"line 1: no column 'b\.c'; there are a"),
        ("a.jsonl", '{"a": "x", "b": []}\n', {"src": "a", "tgt": "b"}, r"row 1: 'x' and \[\]"),
        ("a.jsonl", "[]\n", {"src": "a", "tgt": "b"}, "line 1: no column 'a'"),
        ("a.jsonl", "3\n", {"src": "a", "tgt": "b"}, "line 1: no column 'a'"),
        ("a.parquet", "nothing", {"src": "a", "tgt": "b"}, r"a\.parquet: not a Parquet file"),
        ("a.xls", "nothing", {}, r"a\.xls: no table is known by this ending; known are \.tsv"),
        ("a.tsv", "a\tb\n", {"hold_out": 2}, "hold_out=2, but train has only 1"),
    ],
)
def test_what_is_wrong_in_a_table_is_said(
    tmp_path: Path, name: str, content: str, options: dict[str, object], message: str
) -> None:
    (tmp_path / name).write_text(content, newline="")
    with pytest.raises(UserError, match=message):
        list(Table(f"{tmp_path}/{name}", **options).read("train"))


def test_a_missing_parquet_column_is_said(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": ["x"]}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match="no column 'b'"):
        list(Table(f"{tmp_path}/a.parquet", src="a", tgt="b").read("train"))


def test_sides_of_unequal_counts_are_an_error_that_names_both(tmp_path: Path) -> None:
    (tmp_path / "de").write_text("1\n2\n3\n")
    (tmp_path / "en").write_text("1\n2\n")
    for src, tgt in (("de", "en"), ("en", "de")):
        with pytest.raises(UserError, match=rf"{src} has \d lines and .*{tgt} has \d lines"):
            list(TextFiles(f"{tmp_path}/{src}", f"{tmp_path}/{tgt}").read("train"))


def test_a_source_without_a_target_is_refused() -> None:
    with pytest.raises(UserError, match="val_src=x needs val_tgt"):
        TextFiles("a", "b", val_src="x")


def test_the_target_side_of_a_corpus_has_each_answer_behind_an_empty_source(tmp_path: Path) -> None:
    rows = [("a", "1"), ("b", "2"), ("a", "3")]
    tsv(tmp_path / "a.tsv", rows)
    pairs = Table(f"{tmp_path}/a.tsv", test=f"{tmp_path}/a.tsv", group_references=True)
    corpus = TargetSide(pairs)
    assert list(corpus.read("train")) == [Pair("", ("1",)), Pair("", ("2",)), Pair("", ("3",))]
    assert list(corpus.read("test")) == [Pair("", ("1",)), Pair("", ("3",)), Pair("", ("2",))]
    assert (corpus.has("test"), corpus.has("val")) == (True, False)
    assert corpus.fingerprint("train") != pairs.fingerprint("train")


def test_the_target_side_has_the_targets_vocabulary_alone() -> None:
    tokenizer, other = TargetSide(CMUDict()).tokenizers()
    assert type(tokenizer) is type(CMUDict().tokenizers()[1])
    assert other is None


def test_text_without_a_source_is_read_from_lines_and_from_a_column(tmp_path: Path) -> None:
    texts = [f"text {i}" for i in range(20)]
    (tmp_path / "a.txt").write_text("".join(f"{text}\n" for text in texts))
    expected = [Pair("", (text,)) for text in texts]
    for corpus in (TextFiles(train_tgt=f"{tmp_path}/a.txt"), Table(tsv_of(tmp_path, texts), src=None, tgt=0)):
        assert list(corpus.read("train")) == expected


def test_texts_without_a_source_are_held_out_one_by_one(tmp_path: Path) -> None:
    texts = [f"text {i % 15}" for i in range(20)]
    corpus = Table(tsv_of(tmp_path, texts), src=None, tgt=0, hold_out=4)
    train, val = ([pair.refs[0] for pair in corpus.read(split)] for split in ("train", "val"))
    assert len(set(val)) == 4
    assert not set(train) & set(val)
    assert len(train) + len(val) == 20


def tsv_of(folder: Path, texts: list[str]) -> str:
    """A table of one column."""
    (folder / "one.tsv").write_text("".join(f"{text}\n" for text in texts))
    return f"{folder}/one.tsv"


def test_a_source_for_some_splits_alone_is_refused() -> None:
    with pytest.raises(UserError, match="train_src is given and val_src is not"):
        TextFiles("a", "b", val_tgt="c")


def test_texts_without_a_source_cannot_be_grouped_by_it() -> None:
    with pytest.raises(UserError, match="there is no source"):
        Table("a.tsv", src=None, group_references=True)


def test_two_references_are_not_taken_for_a_source_and_a_reference() -> None:
    fingerprints = []
    for sides in ({"val_tgt": [__file__, __file__]}, {"val_src": __file__, "val_tgt": __file__}):
        fingerprints.append(TextFiles(**sides).fingerprint("val"))
    assert fingerprints[0] != fingerprints[1]


def test_holding_out_and_a_validation_file_exclude_each_other(tmp_path: Path) -> None:
    tsv(tmp_path / "a.tsv")
    with pytest.raises(UserError, match="hold_out=2"):
        Table(f"{tmp_path}/a.tsv", f"{tmp_path}/a.tsv", hold_out=2).has("val")


def test_a_file_corpus_is_known_by_its_content_and_its_options(tmp_path: Path) -> None:
    first = tsv(tmp_path / "a.tsv").fingerprint("train")
    assert tsv(tmp_path / "b.tsv").fingerprint("train") == first
    assert Table(f"{tmp_path}/a.tsv", src=1, tgt=0).fingerprint("train") != first
    assert Table(f"{tmp_path}/a.tsv", hold_out=1).fingerprint("train") != first
    assert tsv(tmp_path / "a.tsv", ROWS[1:]).fingerprint("train") != first


def test_a_corpus_is_known_by_its_pairs_unless_it_says_otherwise() -> None:
    class Listed(Corpus):
        def __init__(self, pairs: list[Pair]) -> None:
            self.pairs = pairs

        def has(self, split: str) -> bool:
            return True

        def read(self, split: str) -> Iterator[Pair]:
            return iter(self.pairs)

    first = Listed([Pair("a", ("b", "c"))]).fingerprint("train")
    assert Listed([Pair("a", ("b", "c"))]).fingerprint("train") == first
    assert Listed([Pair("a", ("b",)), Pair("c", ())]).fingerprint("train") != first


ANSWERS: dict[str, Callable[[list[str]], list[str]]] = {
    "copy": lambda src: src,
    "reverse": lambda src: src[::-1],
    "sort": lambda src: sorted(src, key=int),
    "addition": lambda src: list(str(sum(int(part) for part in "".join(src).split("+")))),
}


@pytest.mark.parametrize("task", ANSWERS)
def test_generated_answers_are_right(task: str) -> None:
    corpus = Generated(task, min_length=2, max_length=6, train_pairs=50, val_pairs=20, test_pairs=0)
    pairs = list(corpus.read("train"))
    assert len(pairs) == 50
    assert all(pair.refs == (" ".join(ANSWERS[task](pair.src.split())),) for pair in pairs)
    assert [corpus.has(split) for split in SPLITS] == [True, True, False]
    assert list(corpus.read("train")) == pairs


def test_no_generated_source_is_in_two_splits() -> None:
    corpus = Generated("copy", max_length=3, symbols=4, train_pairs=200, val_pairs=50, test_pairs=50)
    train, val, test = ({pair.src for pair in corpus.read(split)} for split in SPLITS)
    assert len(train | val | test) == len(train) + len(val) + len(test)


def test_a_generated_task_of_too_few_sources_is_said() -> None:
    corpus = Generated("copy", max_length=1, symbols=1)
    with pytest.raises(UserError, match="too few different sources"):
        [list(corpus.read(split)) for split in SPLITS]


def test_the_dictionary_is_split_by_word() -> None:
    corpus = CMUDict()
    train, val, test = ({pair.src for pair in corpus.read(split)} for split in SPLITS)
    assert (len(val), len(test)) == (2670, 12000)
    assert len(train) > 100_000
    assert len(train | val | test) == len(train) + len(val) + len(test)


def test_the_dictionary_has_all_pronunciations_and_no_stress_unless_asked_for() -> None:
    plain, stressed = (
        {pair.src: pair.refs for split in SPLITS for pair in CMUDict(stress).read(split)} for stress in (False, True)
    )
    assert plain["tomato"] == ("T AH M EY T OW", "T AH M AA T OW")
    assert stressed["tomato"] == ("T AH0 M EY1 T OW2", "T AH0 M AA1 T OW2")
    assert not any("(" in word or "#" in ref for word, refs in stressed.items() for ref in refs)
    assert all(len(set(refs)) == len(refs) for refs in plain.values())


def test_another_seed_gives_another_split_of_the_dictionary() -> None:
    first, second = ({pair.src for pair in CMUDict(seed=seed).read("val")} for seed in (0, 1))
    assert len(first & second) < 300
