"""Corpora of rows: validation held out of training, references grouped by their source."""

import json
import os
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property

import numpy as np

from s2s_lightning.data.cache import chunks, digest, file_digest
from s2s_lightning.data.corpora.corpus import REPEATED, Corpus, Pair, Split, rank
from s2s_lightning.errors import UserError


class RowCorpus(Corpus):
    """Rows of a file or a table. A subclass says where they are.

    Args:
        hold_out: so many different sources are taken out of train, with all their rows, and make val.
        group_references: in val and test, rows of equal source are one item with several right answers.
        seed: of what is held out, which is decided by a hash of (seed, source).
        has_source: no source at all is text for a language model: each source is empty.

    Raises:
        UserError: rows without a source are to be grouped by it.
    """

    def __init__(self, hold_out: int, group_references: bool, seed: int, has_source: bool = True) -> None:
        if group_references and not has_source:
            raise UserError("group_references=True groups rows of equal source, but there is no source: leave it out")
        self.has_source = has_source
        self.hold_out = hold_out
        self.group_references = group_references
        self.seed = seed
        self._states: dict[Split, list[tuple[int, int]]] = {}
        self._remarks: dict[Split, Counter[str]] = {}

    @abstractmethod
    def has_rows(self, split: Split) -> bool:
        """True if the split has rows of its own."""

    @abstractmethod
    def rows(self, split: Split) -> Iterator[Pair]:
        """The rows of a split, as they stand."""

    @abstractmethod
    def files(self, split: Split) -> list[str]:
        """The files whose bytes hold the rows of a split."""

    @abstractmethod
    def reading(self) -> list[object]:
        """The options that, with the bytes, decide what is read: part of the cache's key."""

    def fingerprint(self, split: Split) -> str:
        self._states[self._home(split)] = self._state(split)
        options = [split, self.hold_out, self.group_references, self.seed, *self.reading()]
        return digest(type(self).__name__, json.dumps(options), *map(file_digest, self.files(self._home(split))))

    def has(self, split: Split) -> bool:
        if split == "val" and self.hold_out and self.has_rows("val"):
            raise UserError(
                f"hold_out={self.hold_out} makes a val split, but there is one already: give one or the other"
            )
        return self.has_rows(self._home(split))

    def read(self, split: Split) -> Iterator[Pair]:
        rows = self.rows(self._home(split))
        if self.hold_out and split != "test":
            rows = (row for row in rows if self._is_held_out(row) == (split == "val"))
        return self._unchanged(
            split, self._grouped(split, rows) if self.group_references and split != "train" else rows
        )

    def _unchanged(self, split: Split, rows: Iterable[Pair]) -> Iterator[Pair]:
        """The rows. Raises UserError behind the last where the files are others than those of the fingerprint."""
        before = self._states.get(self._home(split)) or self._state(split)
        yield from rows
        if self._state(split) != before:
            raise UserError(f"the files of the {split} split changed while they were read: begin again")

    def _state(self, split: Split) -> list[tuple[int, int]]:
        """Size and time of each file."""
        found = map(os.stat, self.files(self._home(split)))
        return [(said.st_size, said.st_mtime_ns) for said in found]

    def remark(self, split: Split, remarks: Counter[str]) -> None:
        """Keep what a whole pass over ``rows`` counted."""
        self._remarks[split] = remarks

    def remarks(self, split: Split) -> Mapping[str, int]:
        return self._remarks.get(split, {})

    def _grouped(self, split: Split, rows: Iterable[Pair]) -> Iterator[Pair]:
        """Yield one item for each source, with all its different references, in the order of their first rows."""
        items: dict[str, dict[str, None]] = {}
        answers = 0
        for row in rows:
            items.setdefault(row.src, {}).update(dict.fromkeys(row.refs))
            answers += len(row.refs)
        if repeated := answers - sum(map(len, items.values())):
            self._remarks[split] = Counter({**self.remarks(split), REPEATED: repeated})
        return (Pair(src, tuple(refs)) for src, refs in items.items())

    def _home(self, split: Split) -> Split:
        """The split in whose rows this one is found."""
        return "train" if split == "val" and self.hold_out else split

    def _is_held_out(self, row: Pair) -> bool:
        return rank(self.seed, identity(row)) <= self._last_rank

    @cached_property
    def _last_rank(self) -> int:
        """The ``hold_out``-th smallest hash of a training source: one pass, and no more memory than that many."""
        smallest = np.empty(0, np.uint64)
        for chunk in chunks(self.rows("train"), 8192):
            ranks = np.array([rank(self.seed, identity(row)) for row in chunk], np.uint64)
            smallest = np.union1d(smallest, ranks)[: self.hold_out]
        if len(smallest) < self.hold_out:
            raise UserError(f"hold_out={self.hold_out}, but train has only {len(smallest)} different sources: lower it")
        return int(smallest[-1])


def identity(row: Pair) -> str:
    """Return the text that decides whether a row is held out: its source, or its text where there is none."""
    return row.src or row.refs[0]
