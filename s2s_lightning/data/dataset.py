"""Padded batches from lists of rows, with numpy on flat arrays."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from s2s_lightning import BOS, EOS, PAD, UNK
from s2s_lightning.data.bucket_sampler import BatchIndex, Lengths
from s2s_lightning.data.ragged import IntArray, Ragged
from s2s_lightning.data.store import Store
from s2s_lightning.model import Batch


class Copies(NamedTuple):
    """Ids that copying emits, as in ``Batch.src_copy`` without EOS; ids from ``vocab_size`` on are places in the
    source.
    """

    rows: Ragged
    vocab_size: int


class PairDataset(Dataset[Batch]):
    """Pairs of id rows whose item is a whole batch; the sampler says which rows.

    Args:
        src: source ids without EOS.
        tgt: target ids without BOS and EOS; with places in the source where ``copies`` are given.
        copies: of each source token, for networks that copy.
        reverse_source: read each source from its end; EOS stays the last.
    """

    def __init__(self, src: Ragged, tgt: Ragged, copies: Copies | None = None, reverse_source: bool = False) -> None:
        assert len(src.offsets) == len(tgt.offsets)
        assert not (copies and reverse_source), "places in the source would have to be turned round too"
        self.src = src
        self.tgt = tgt
        self.copies = copies
        self.reverse_source = reverse_source

    def __len__(self) -> int:
        return len(self.src.offsets) - 1

    def lengths(self) -> Lengths:
        """Tokens of both sides, EOS included."""
        return Lengths(self.src.lengths() + 1, self.tgt.lengths() + 1)

    def __getitem__(self, item: BatchIndex) -> Batch:
        src, tgt_out = _close(self.src, item.indices), _close(self.tgt, item.indices)
        if self.reverse_source:
            src = _reversed(src)
        tgt_in = np.full_like(tgt_out, PAD)
        tgt_in[:, 0] = BOS
        tgt_in[:, 1:] = np.where(tgt_out[:, 1:] == PAD, PAD, tgt_out[:, :-1])
        src_copy = None
        if self.copies is not None:
            tgt_in[tgt_in >= self.copies.vocab_size] = UNK
            src_copy = torch.from_numpy(_close(self.copies.rows, item.indices))
        return Batch(
            src=torch.from_numpy(src),
            src_padding=torch.from_numpy(src == PAD),
            tgt_in=torch.from_numpy(tgt_in),
            tgt_out=torch.from_numpy(tgt_out),
            divisor=torch.tensor(item.divisor, dtype=torch.float32),
            rows=torch.from_numpy(item.indices.astype(np.int64)),
            src_copy=src_copy,
        )


class EpochwiseDataset(Dataset[Batch]):
    """Pairs whose ids are others in each epoch, each epoch's in a file of its own; the sampler sees that it is there.

    Args:
        path: of the files, but for the number of the epoch.
        reverse_source: read each source from its end; EOS stays the last.
    """

    def __init__(self, path: Path, reverse_source: bool = False) -> None:
        self._path = path
        self.reverse_source = reverse_source
        self._open: tuple[int, PairDataset] | None = None

    def __len__(self) -> int:
        return len(self.epoch(0))

    def __getitem__(self, item: BatchIndex) -> Batch:
        return self.epoch(item.epoch)[item]

    def path(self, epoch: int) -> Path:
        """The file of an epoch."""
        return self._path.with_name(f"{self._path.name}-{epoch}.arrow")

    def epoch(self, epoch: int) -> PairDataset:
        """The pairs of an epoch; the file of the last one asked for stays open."""
        if self._open is None or self._open[0] != epoch:
            store = Store(self.path(epoch))
            self._open = epoch, PairDataset(store.src, store.tgt, reverse_source=self.reverse_source)
        return self._open[1]


def _close(rows: Ragged, indices: IntArray) -> IntArray:
    """The rows with EOS behind each: (B, longest + 1)."""
    lengths = rows.offsets[indices + 1] - rows.offsets[indices]
    matrix = rows.gather(indices, int(lengths.max()) + 1)
    matrix[np.arange(len(indices)), lengths] = EOS
    return matrix


def _reversed(closed: IntArray) -> IntArray:
    """The rows (B, S) with what stands before their EOS turned round."""
    place = np.arange(closed.shape[1])
    end = np.count_nonzero(closed != PAD, 1)[:, None] - 1  # of EOS
    return np.take_along_axis(closed, np.where(place < end, end - 1 - place, place), 1)
