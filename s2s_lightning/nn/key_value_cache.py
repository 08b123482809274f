"""Keys and values of what a decoder has written.

Shape letters: d width of a head, P positions written so far.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class KeyValue(NamedTuple):
    """Projected keys and values (B, H, S, d)."""

    keys: Tensor
    values: Tensor


class Cache(NamedTuple):
    """Keys and values that each row has written, read through an index: to move rows is to move the index.

    So a search that reorders its hypotheses copies each row once a step and not twice: when ``append`` takes it to
    where there is room for what is new.

    Attributes:
        kv: (R, H, P, d) of R rows.
        row: (B,), which of these each row goes on from.
    """

    kv: KeyValue
    row: Tensor

    @classmethod
    def begin(cls, like: KeyValue) -> "Cache":
        """Nothing written by as many rows as ``like`` has."""
        return cls(KeyValue(*(x[:, :, :0] for x in like)), _each(like.keys))

    @property
    def length(self) -> int:
        """P."""
        return self.kv.keys.shape[2]

    def append(self, new: KeyValue) -> "Cache":
        """Return a cache with the new keys and values of each row, (B, H, T, d); this one is not changed."""
        if self.length == 0:
            return Cache(new, _each(new.keys))  # teacher forcing: nothing to copy
        both = KeyValue(*(_joined(old, self.row, x) for old, x in zip(self.kv, new, strict=True)))
        return Cache(both, _each(new.keys))


def _each(x: Tensor) -> Tensor:
    return torch.arange(len(x), device=x.device)


def _joined(old: Tensor, row: Tensor, new: Tensor) -> Tensor:
    """The rows of old, each followed by one of new."""
    if torch.is_grad_enabled():
        return torch.cat((old.index_select(0, row), new), 2)
    both = new.new_empty(len(new), new.shape[1], old.shape[2] + new.shape[2], new.shape[3])
    torch.index_select(old, 0, row, out=both[:, :, : old.shape[2]])
    both[:, :, old.shape[2] :] = new
    return both
