"""Columns of a table's rows: TSV, CSV, JSON lines and Parquet, by the file's name."""

import csv
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from s2s_lightning.errors import UserError
from s2s_lightning.files import json_row, open_file, read_lines

Column = str | int
Numbered = tuple[str, list[Any]]
"""File and number of a row, as an error names it, and its fields."""

BLANK = "blank lines skipped"
"""The remark on lines of a table with nothing in them, not even a tab; one after the last row is none."""

csv.field_size_limit(sys.maxsize)  # of the whole process: a text may be longer than 131,072 characters


def read_table(path: str, columns: Sequence[Column], header: bool, remarks: Counter[str]) -> Iterator[Numbered]:
    """Yield the place of each row, as errors name it, and its chosen columns.

    Args:
        path: its ending names the format, before that of a compression.
        columns: names, dotted for nested ones, or numbers from 0.
        header: the first row of TSV and CSV names the columns.
        remarks: counts by reason what is skipped.

    Raises:
        UserError: an unknown ending, a missing column, or a row that cannot be read, with its number.
    """
    return table_format(path)(path, columns, header, remarks)


def table_format(path: str) -> "Reader":
    """The reader that the file's name asks for."""
    plain = Path(path).with_suffix("") if Path(path).suffix in (".gz", ".xz", ".zst") else Path(path)
    if plain.suffix not in READERS:
        endings = ", ".join(READERS)
        raise UserError(f"{path}: no table is known by this ending; known are {endings}, alone or with .gz, .xz, .zst")
    return READERS[plain.suffix]


def _tsv(path: str, columns: Sequence[Column], header: bool, remarks: Counter[str]) -> Iterator[Numbered]:
    rows = ((f"{path}, row {number}", line.split("\t")) for number, line in enumerate(read_lines(path), 1))
    return _fields(path, rows, columns, header, remarks)


def _csv(path: str, columns: Sequence[Column], header: bool, remarks: Counter[str]) -> Iterator[Numbered]:
    return _fields(path, _csv_rows(path), columns, header, remarks)


def _csv_rows(path: str) -> Iterator[Numbered]:
    """Yield rows as RFC 4180 quotes them; a quoted field may hold line ends, so that a row may be several lines."""
    rows = csv.reader((f"{line}\n" for line in read_lines(path)), strict=True)
    number = 1
    while True:
        first = rows.line_num + 1
        where = f"{path}, row {number}" + ("" if first == number else f" (line {first})")
        try:
            row = next(rows, None)
        except csv.Error as error:
            raise UserError(f"{path}, line {first}: not CSV ({_csv_rule(error, rows.line_num)})") from error
        if row is None:
            return
        yield where, row or [""]
        number += 1


def _csv_rule(error: csv.Error, line: int) -> str:
    """Translate an error of the csv module that was met in a line."""
    known = {
        "unexpected end of data": "a quote is opened and never closed",
        "expected after": f'text behind a closing quote in line {line}; a quote inside of quotes is written ""',
        "new-line character": f"a carriage return outside of quotes in line {line}",
    }
    return next((rule for part, rule in known.items() if part in str(error)), str(error))


def _fields(
    path: str, rows: Iterator[Numbered], columns: Sequence[Column], header: bool, remarks: Counter[str]
) -> Iterator[Numbered]:
    """Yield the chosen fields; each row must have as many as the first one."""
    names = next(rows, ("", []))[1] if header else []
    places = [_place(path, names, column) for column in columns]
    width, blank = len(names), 0
    for where, row in rows:
        width = width or len(row)
        if row == [""] and width > 1:
            blank += 1
            continue
        if len(row) <= max(places):
            raise UserError(f"{where}: {len(row)} columns, but column {max(places)} is asked for (from 0)")
        if len(row) != width:
            first = f"the first row {'names' if header else 'has'} {width}"
            raise UserError(
                f"{where}: {len(row)} columns, but {first}: a text with a comma is quoted in CSV, and a text "
                "of TSV has no tab"
            )
        _count(remarks, blank)
        blank = 0
        yield where, [row[place] for place in places]


def _count(remarks: Counter[str], blank: int) -> None:
    if blank:
        remarks[BLANK] += blank


def _place(path: str, names: list[str], column: Column) -> int:
    if isinstance(column, int):
        if names and column >= len(names):
            raise UserError(
                f"{path}: its first row names {len(names)} columns, but column {column} is asked for (from 0)"
            )
        return column
    if column not in names:
        raise UserError(f"{path}: no column {column!r}; its first row names {', '.join(names) or 'none'}")
    if names.count(column) > 1:
        raise UserError(
            f"{path}: its first row names {names.count(column)} columns {column!r}; rename one, or give the column's "
            "number with header: true"
        )
    return names.index(column)


def _jsonl(path: str, columns: Sequence[Column], header: bool, remarks: Counter[str]) -> Iterator[Numbered]:
    blank = 0
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            blank += 1
            continue
        _count(remarks, blank)
        blank = 0
        record = json_row(line, f"{path}, line {number}")
        yield f"{path}, row {number}", [pick(record, column, f"{path}, line {number}") for column in columns]


def _parquet(path: str, columns: Sequence[Column], header: bool, remarks: Counter[str]) -> Iterator[Numbered]:
    with open_file(path) as stream, TemporaryFile() as file:
        if Path(path).suffix == ".parquet":
            yield from _parquet_rows(path, stream, columns)
        else:
            shutil.copyfileobj(stream, file)  # Parquet is read from its end
            yield from _parquet_rows(path, file, columns)


def _parquet_rows(path: str, file: Any, columns: Sequence[Column]) -> Iterator[Numbered]:
    try:
        table = pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a Parquet file ({' '.join(str(error).split())})") from error
    known = table.schema_arrow.names
    names = [_parquet_name(path, known, column) for column in columns]
    tops = [name if name in known else name.split(".")[0] for name in names]
    number = 0
    for top in tops:
        if known.count(top) > 1:
            raise UserError(f"{path}: {known.count(top)} columns are called {top!r}; rename one")
    try:
        for batch in table.iter_batches(columns=list(dict.fromkeys(tops))):
            for record in batch.to_pylist():
                number += 1
                where = f"{path}, row {number}"
                yield where, [pick(record, name, where) for name in names]
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        rule = " ".join(str(error).split())
        raise UserError(f"{path}, behind row {number}: cannot be read ({rule}); write it again") from error


def _parquet_name(path: str, known: list[str], column: Column) -> str:
    if not isinstance(column, int):
        return column
    if not 0 <= column < len(known):
        raise UserError(f"{path}: {len(known)} columns, but column {column} is asked for (from 0)")
    return known[column]


def pick(record: Any, column: Column, where: str) -> Any:
    """A field of a nested record, by name or dotted name; of a list, by number."""
    if isinstance(record, dict) and column in record:
        return record[column]
    value = record
    try:
        for key in [column] if isinstance(column, int) else column.split("."):
            value = value[key]
    except (KeyError, IndexError, TypeError) as error:
        known = f"; there are {', '.join(record)}" if isinstance(record, dict) else ""
        raise UserError(f"{where}: no column {column!r}{known}") from error
    return value


Reader = Callable[[str, Sequence[Column], bool, Counter[str]], Iterator[Numbered]]
READERS: dict[str, Reader] = {".tsv": _tsv, ".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}
