"""Pairs as rows of a table: TSV, CSV, JSON lines, Parquet."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from s2s_lightning.data.corpora.corpus import Pair, Split, as_pair
from s2s_lightning.data.corpora.rows import RowCorpus
from s2s_lightning.data.corpora.table_formats import Column, read_table, table_format
from s2s_lightning.errors import UserError
from s2s_lightning.files import check_file


class Table(RowCorpus):
    """Rows with a source and a target column: .tsv, .csv, .jsonl or .parquet, also with .gz, .xz or .zst behind.

    TSV is split at each tab and nothing is quoted in it; CSV is quoted as in RFC 4180. A column of JSON lines or
    Parquet may hold a list of references. With src null it is a corpus for a language model: each source is empty.

    Args:
        train: file of the training rows.
        val: file of the validation rows.
        test: file of the test rows.
        src: source column: its number, from 0, or its name; translation.de is de inside of translation; null: none.
        tgt: target column, as ``src``.
        header: the first row of TSV and CSV names the columns; by default it does when ``src`` or ``tgt`` is a name.
        hold_out: so many different sources are taken out of train, with all their rows, and make val; without a source,
            so many different texts.
        group_references: in val and test, rows of equal source are one item with several right answers.
        seed: of what is held out, which is decided by a hash of (seed, source).
    """

    def __init__(
        self,
        train: str | None = None,
        val: str | None = None,
        test: str | None = None,
        *,
        src: int | str | None = 0,
        tgt: int | str = 1,
        header: bool | None = None,
        hold_out: int = 0,
        group_references: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(hold_out, group_references, seed, src is not None)
        self._files = {"train": train, "val": val, "test": test}
        self._columns: list[Column] = [tgt] if src is None else [src, tgt]
        _check_columns(src=src, tgt=tgt)
        self._header = any(isinstance(column, str) for column in self._columns) if header is None else header

    def has_rows(self, split: Split) -> bool:
        return self._files[split] is not None

    def rows(self, split: Split) -> Iterator[Pair]:
        (path,) = self.files(split)
        remarks: Counter[str] = Counter()
        for where, (*src, tgt) in read_table(path, self._columns, self._header, remarks):
            yield as_pair(src[0] if src else "", tgt, where)
        self.remark(split, remarks)

    def files(self, split: Split) -> list[str]:
        path = self._files[split]
        assert path is not None
        return [check_file(path)]

    def reading(self) -> list[object]:
        formats = [path and table_format(path).__name__ for path in self._files.values()]
        compressed = [path and Path(path).suffix for path in self._files.values()]
        return [*self._columns, self._header, *formats, *compressed]


def _check_columns(**columns: Any) -> None:
    """Raises UserError for a column that is neither a name nor a number from 0; the source may be None."""
    for side, column in columns.items():
        if isinstance(column, bool):
            raise UserError(f"{side}={column}: YAML reads a bare yes, no, on or off as a boolean: quote the name")
        if isinstance(column, int) and column < 0:
            raise UserError(f"{side}={column}: columns are counted from 0; give 0 or more, or a name")
        if not isinstance(column, int | str) and (column is not None or side == "tgt"):
            raise UserError(f"{side}={column}: give the name of a column, or its number from 0")
