"""Rows of unequal length as two flat arrays, the way Arrow keeps lists: no Python object a row."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from s2s_lightning import PAD

IntArray = npt.NDArray[np.integer[Any]]


class Ragged(NamedTuple):
    """N rows of ids.

    Attributes:
        values: the ids of all rows, one after the other.
        offsets: (N + 1,), row i is ``values[offsets[i]:offsets[i + 1]]``.
    """

    values: IntArray
    offsets: IntArray

    @classmethod
    def from_lists(cls, rows: Sequence[Sequence[int]], dtype: npt.DTypeLike = np.int64) -> "Ragged":
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        offsets = np.concatenate([[0], lengths.cumsum()])
        return cls(np.fromiter(_flatten(rows), dtype, int(offsets[-1])), offsets)

    def lengths(self) -> IntArray:
        """(N,) int32, the tokens of each row."""
        return np.diff(self.offsets).astype(np.int32)

    def gather(self, indices: IntArray, width: int) -> IntArray:
        """The rows ``indices`` (B,), cut by nothing and padded with PAD: (B, width) int64."""
        starts = self.offsets[indices]
        real = np.arange(width) < (self.offsets[indices + 1] - starts)[:, None]
        matrix = np.full(real.shape, PAD, np.int64)
        matrix[real] = self.values[(starts[:, None] + np.arange(width))[real]]
        return matrix


def _flatten(rows: Iterable[Iterable[int]]) -> Iterable[int]:
    return (value for row in rows for value in row)
