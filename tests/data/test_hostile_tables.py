"""Tables as people have them: nothing is cut, shifted or merged without a word (laws 19 and 24)."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from s2s_lightning.data import Pair, Saved, Table, TargetSide, TextFiles
from s2s_lightning.errors import UserError
from s2s_lightning.inference.generate.requests import Request, from_jsonl


def table(folder: Path, name: str, content: str | bytes, **options: Any) -> Table:
    """A table of this content; JSON lines have the columns s and t."""
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    if name.endswith(".jsonl"):
        options = {"src": "s", "tgt": "t", **options}
    return Table(f"{folder}/{name}", **options)


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("a.csv", "a,b\nc,d,e\n", {}, r"a\.csv, row 2: 3 columns, but the first row has 2"),
        ("a.tsv", "a\tb\tx\nc\td\n", {}, r"a\.tsv, row 2: 2 columns, but the first row has 3"),
        ("a.csv", "s,t\na,b\nhello, world,c\n", {"src": "s", "tgt": "t"}, r"row 3: 3 columns, but the first row names"),
        ("a.tsv", "s\tt\nhello\tworld\tc\n", {"src": "s", "tgt": "t"}, r"row 2: 3 columns, but the first row names 2"),
        ("a.csv", 'a,b\nc,"d\ne,f\n', {}, r"a\.csv, line 2: not CSV \(a quote is opened and never closed\)"),
        ("a.csv", 'a,b\nc,"d" e\n', {}, r"a\.csv, line 2: not CSV \(text behind a closing quote in line 2"),
        ("a.csv", 'a,"b\nc"\nd,e,f\n', {}, r"a\.csv, row 2 \(line 3\): 3 columns"),
        ("a.csv", 'a,b\nc, "d, e"\n', {}, r"a\.csv, row 2: 3 columns"),
        ("a.csv", "s,t,t\na,b,c\n", {"src": "s", "tgt": "t"}, r"names 2 columns 't'; rename one"),
        ("a.csv", "s,t\na,b\n", {"src": "s", "tgt": 2, "header": True}, r"its first row names 2 columns, but column 2"),
        ("a.csv", b"a,b\nc,\xff\n", {}, r"a\.csv, line 2: not UTF-8 \(byte 3 is 0xff\)"),
        ("a.jsonl", '{"s": "a", "t": "b"}\n{"s": "a\\ud83d", "t": "b"}\n', {}, r"row 2: character 2 .*'\\ud83d'"),
        ("a.jsonl", '{"s": "a", "t": ["b", "\\udc00"]}\n', {}, r"a\.jsonl, row 1: character 1 .*surrogate"),
        ("a.jsonl", '{"s": "a", "t": "b", "t": "c"}\n', {}, r"line 1: key 't' stands twice"),
        ("a.jsonl", f'{{"s": {"9" * 5000}, "t": "b"}}\n', {}, r"line 1: Exceeds the limit"),
        ("a.jsonl", "[" * 100_000 + "\n", {}, r"line 1: JSON that is nested too deep"),
        ("a.jsonl", '{"s": NaN, "t": "b"}\n', {}, r"row 1: nan and 'b': a source must be text"),
        ("a.jsonl", '{"s": "a", "t": {"x": "b"}}\n', {}, r"row 1: 'a' and \{'x': 'b'\}"),
        ("a.jsonl", '{"s": "a", "t": null}\n', {}, r"row 1: 'a' and None"),
        ("a.jsonl", '{"s": "a", "t": true}\n', {}, r"row 1: 'a' and True"),
        ("a.jsonl", '{"s": ["a"], "t": "b"}\n', {}, r"row 1: \['a'\] and 'b'"),
        ("a.jsonl", '{"s": "a", "t": ["b", 1]}\n', {}, r"row 1: 'a' and \['b', 1\]"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_read_is_named_with_its_rule(
    tmp_path: Path, name: str, content: str | bytes, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as refused:
        list(table(tmp_path, name, content, **options).read("train"))
    assert len(str(refused.value)) < 400
    assert "\n" not in str(refused.value)


def test_legal_csv_keeps_quotes_commas_line_ends_and_long_fields(tmp_path: Path) -> None:
    long = "x" * 200_000
    content = f'"a\nb","say ""hi"", you"\n{long},5" nail\n\0,\u2028\u0085\n'
    assert list(table(tmp_path, "a.csv", content).read("train")) == [
        Pair("a\nb", ('say "hi", you',)),
        Pair(long, ('5" nail',)),
        Pair("\0", ("\u2028\u0085",)),
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_and_a_byte_order_mark_do_not_change_a_table(tmp_path: Path, end: str, mark: str) -> None:
    for name, row in (("a.tsv", "s\tt{0}a\tb{0}"), ("a.csv", 's,t{0}a,"b"{0}')):
        corpus = table(tmp_path, name, mark + row.format(end), src="s", tgt="t")
        assert list(corpus.read("train")) == [Pair("a", ("b",))]
    assert list(table(tmp_path, "a.jsonl", mark + f'{{"s": "a", "t": "b"}}{end}').read("train")) == [Pair("a", ("b",))]


@pytest.mark.parametrize(
    ("name", "row"), [("a.tsv", "a\tb\n"), ("a.csv", "a,b\n"), ("a.jsonl", '{"s": "a", "t": "b"}\n')]
)
def test_blank_lines_between_rows_are_counted_and_behind_the_last_are_none(tmp_path: Path, name: str, row: str) -> None:
    corpus = table(tmp_path, name, f"{row}\n\n{row}\n")
    assert list(corpus.read("train")) == [Pair("a", ("b",))] * 2
    assert corpus.remarks("train") == {"blank lines skipped": 2}
    corpus = table(tmp_path, name, f"{row}{row}\n")
    assert len(list(corpus.read("train"))) == 2
    assert corpus.remarks("train") == {}


@pytest.mark.parametrize("name", ["a.tsv", "a.csv"])
def test_a_blank_line_of_a_table_of_one_column_is_an_empty_text(tmp_path: Path, name: str) -> None:
    corpus = table(tmp_path, name, "a\n\nb\n", src=None, tgt=0)
    assert [pair.refs for pair in corpus.read("train")] == [("a",), ("",), ("b",)]


def test_remarks_count_one_reading_however_often_a_split_is_read(tmp_path: Path) -> None:
    content = "a\tb\n\nc\td\na\tb\na\tx\n"
    corpus = table(tmp_path, "a.tsv", content, hold_out=1, test=f"{tmp_path}/a.tsv", group_references=True)
    for _ in range(2):
        assert len(list(corpus.read("train"))) + len(list(corpus.read("val"))) in (3, 4)
        assert len(list(corpus.read("test"))) == 2
        assert corpus.remarks("train") == {"blank lines skipped": 1}
        expected = {"blank lines skipped": 1, "equal references merged": 1}
        assert corpus.remarks("test") == TargetSide(corpus).remarks("test") == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"src": -1}, "src=-1: columns are counted from 0"),
        ({"tgt": False}, "tgt=False: YAML reads a bare yes, no, on or off"),
        ({"tgt": None}, "tgt=None: give the name of a column"),
        ({"src": 2.5}, r"src=2\.5: give the name of a column"),
    ],
)
def test_what_is_no_column_is_refused_before_a_file_is_opened(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Table("nowhere.tsv", **options)


@pytest.mark.parametrize(
    "column", [pa.array([1, 2]), pa.array(["b", None]), pa.array([["b"], []]), pa.array([b"b", b"c"])]
)
def test_a_parquet_column_of_another_type_names_file_and_row(tmp_path: Path, column: pa.Array) -> None:
    pq.write_table(pa.table({"s": ["a", "b"], "t": column}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"a\.parquet, row [12]: .* a target text or a list of texts"):
        list(Table(f"{tmp_path}/a.parquet", src="s", tgt="t").read("train"))


def test_a_parquet_file_that_is_cut_or_not_utf_8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    bad = pa.array([b"\xff", b"a"]).cast(pa.binary()).view(pa.string())
    pq.write_table(pa.table({"s": ["a", "b"], "t": bad}), path)
    with pytest.raises(UserError, match=r"a\.parquet, behind row 0: cannot be read"):
        list(Table(str(path), src="s", tgt="t").read("train"))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"a\.parquet: not a Parquet file"):
        list(Table(str(path), src="s", tgt="t").read("train"))


def test_a_saved_data_set_with_a_wrong_column_names_set_split_and_row(tmp_path: Path) -> None:
    from datasets import Dataset

    Dataset.from_list([{"s": "a", "t": 1}]).save_to_disk(tmp_path / "set")
    with pytest.raises(UserError, match=r"set, train, row 1: 'a' and 1"):
        list(Saved(f"{tmp_path}/set", "s", "t").read("train"))
    (arrow,) = (tmp_path / "set").glob("*.arrow")
    arrow.write_bytes(arrow.read_bytes()[:50])
    with pytest.raises(UserError, match="not a whole folder"):
        list(Saved(f"{tmp_path}/set", "s", "t").read("train"))


@pytest.mark.parametrize("inside", ["\u2028", "\u0085", "\r", "\0", "\ufeff", "\x0b", "\x1c", "\u00a0"])
def test_text_files_keep_each_line_and_what_is_in_it(tmp_path: Path, inside: str) -> None:
    for side in ("src", "tgt"):
        (tmp_path / side).write_bytes(f"a\n\nb{inside}c\n".encode())
    pairs = list(TextFiles(f"{tmp_path}/src", f"{tmp_path}/tgt").read("train"))
    assert pairs == [Pair(text, (text,)) for text in ("a", "", f"b{inside}c")]


def test_json_rows_that_are_right_are_read_whatever_stands_beside(tmp_path: Path) -> None:
    row = {"s": "a \U0001f600", "t": ["b", "b"], "id": 10**300, "score": float("inf"), "nested": {"s": [None]}}
    corpus = table(tmp_path, "a.jsonl", json.dumps(row))
    assert list(corpus.read("train")) == [Pair("a \U0001f600", ("b", "b"))]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "a\\ud800"}\n', "in, line 1: character 2 of a text"),
        ('{"text": "a", "constraints": ["\\udfff"]}\n', "in, line 1: character 1 of a text"),
        ('{"text": "a", "text": "b"}\n', "in, line 1: key 'text' stands twice"),
        ('{"text": ' + "[" * 100_000, "in, line 1: JSON that is nested too deep"),
        ('{"text": "a"}\n\n{"text": "b"}\n', "in, line 2: not a request"),
        ('{"text": "a"\n', "in, line 1: not JSON"),
    ],
)
def test_requests_of_json_lines_are_held_to_the_same_rules(content: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        list(from_jsonl(content.removesuffix("\n").split("\n"), "in"))


def test_blank_lines_behind_the_last_request_are_none() -> None:
    assert list(from_jsonl(['{"text": "a"}', "", " "], "in")) == [Request("a")]
