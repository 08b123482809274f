"""Columns of a table's rows: TSV, CSV, JSON lines and Parquet, by the file's name."""

import csv
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from s2s_lightning.errors import UserError
from s2s_lightning.files import open_file, read_lines

Column = str | int
Row = list[Any]


def read_table(path: str, columns: Sequence[Column], header: bool) -> Iterator[Row]:
    """The chosen columns of each row.

    Args:
        path: its ending says the format, before that of a compression.
        columns: names, dotted for nested ones, or numbers from 0.
        header: whether the first row of TSV and CSV names the columns.

    Raises:
        UserError: an unknown ending, a missing column, or a row that cannot be read, with its line.
    """
    return table_format(path)(path, columns, header)


def table_format(path: str) -> "Reader":
    """The reader that the file's name asks for."""
    plain = Path(path).with_suffix("") if Path(path).suffix in (".gz", ".xz", ".zst") else Path(path)
    if plain.suffix not in READERS:
        endings = ", ".join(READERS)
        raise UserError(f"{path}: no table is known by this ending; known are {endings}, alone or with .gz, .xz, .zst")
    return READERS[plain.suffix]


def _tsv(path: str, columns: Sequence[Column], header: bool) -> Iterator[Row]:
    return _fields(path, (line.split("\t") for line in read_lines(path)), columns, header)


def _csv(path: str, columns: Sequence[Column], header: bool) -> Iterator[Row]:
    return _fields(path, _csv_rows(path), columns, header)


def _csv_rows(path: str) -> Iterator[list[str]]:
    """Rows as RFC 4180 quotes them; a quoted field may hold line ends."""
    rows = csv.reader(f"{line}\n" for line in read_lines(path))
    while True:
        try:
            row = next(rows, None)
        except csv.Error as error:
            raise UserError(f"{path}, line {rows.line_num}: not CSV ({error})") from error
        if row is None:
            return
        yield row


def _fields(path: str, rows: Iterator[list[str]], columns: Sequence[Column], header: bool) -> Iterator[Row]:
    names = next(rows, []) if header else []
    places = [_place(path, names, column) for column in columns]
    for number, row in enumerate(rows, 2 if header else 1):
        if len(row) <= max(places):
            raise UserError(f"{path}, row {number}: {len(row)} columns, but column {max(places)} is asked for (from 0)")
        yield [row[place] for place in places]


def _place(path: str, names: list[str], column: Column) -> int:
    if isinstance(column, int):
        return column
    if column not in names:
        raise UserError(f"{path}: no column {column!r}; its first row names {', '.join(names) or 'none'}")
    return names.index(column)


def _jsonl(path: str, columns: Sequence[Column], header: bool) -> Iterator[Row]:
    for number, line in enumerate(read_lines(path), 1):
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{path}, line {number}: not JSON ({error})") from error
        yield [pick(record, column, f"{path}, line {number}") for column in columns]


def _parquet(path: str, columns: Sequence[Column], header: bool) -> Iterator[Row]:
    with open_file(path) as stream, TemporaryFile() as file:
        if Path(path).suffix == ".parquet":
            yield from _parquet_rows(path, stream, columns)
        else:
            shutil.copyfileobj(stream, file)  # Parquet is read from its end
            yield from _parquet_rows(path, file, columns)


def _parquet_rows(path: str, file: Any, columns: Sequence[Column]) -> Iterator[Row]:
    try:
        table = pq.ParquetFile(file)
    except pa.ArrowInvalid as error:
        raise UserError(f"{path}: not a Parquet file ({error})") from error
    known = table.schema_arrow.names
    names = [_parquet_name(path, known, column) for column in columns]
    tops = [name if name in known else name.split(".")[0] for name in names]
    number = 0
    for batch in table.iter_batches(columns=list(dict.fromkeys(tops))):
        for record in batch.to_pylist():
            number += 1
            yield [pick(record, name, f"{path}, row {number}") for name in names]


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


Reader = Callable[[str, Sequence[Column], bool], Iterator[Row]]
READERS: dict[str, Reader] = {".tsv": _tsv, ".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}
