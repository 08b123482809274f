"""From a list of rows to a padded batch, with numpy on flat arrays."""

from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from s2s_lightning import BOS, EOS, PAD, UNK
from s2s_lightning.batch import Batch
from s2s_lightning.data.bucketing import BatchIndex, Lengths
from s2s_lightning.data.ragged import IntArray, Ragged


class Copies(NamedTuple):
    """What copying emits, as in ``Batch.src_copy`` without EOS; ids from ``vocab_size`` on are places in the source."""

    rows: Ragged
    vocab_size: int


class PairDataset(Dataset[Batch]):
    """Pairs of id rows whose item is a whole batch; the sampler says which rows.

    Args:
        src: source ids without EOS.
        tgt: target ids without BOS and EOS; with places in the source where ``copies`` are given.
        copies: of each source token, for networks that copy.
    """

    def __init__(self, src: Ragged, tgt: Ragged, copies: Copies | None = None) -> None:
        assert len(src.offsets) == len(tgt.offsets)
        self.src = src
        self.tgt = tgt
        self.copies = copies

    def __len__(self) -> int:
        return len(self.src.offsets) - 1

    def lengths(self) -> Lengths:
        """Tokens of both sides, EOS included."""
        return Lengths(self.src.lengths() + 1, self.tgt.lengths() + 1)

    def __getitem__(self, item: BatchIndex) -> Batch:
        src, tgt_out = _close(self.src, item.indices), _close(self.tgt, item.indices)
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


def _close(rows: Ragged, indices: IntArray) -> IntArray:
    """The rows with EOS behind each: (B, longest + 1)."""
    lengths = rows.offsets[indices + 1] - rows.offsets[indices]
    matrix = rows.gather(indices, int(lengths.max()) + 1)
    matrix[np.arange(len(indices)), lengths] = EOS
    return matrix
