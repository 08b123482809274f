"""From a list of rows to a padded batch, with numpy on flat arrays."""

import numpy as np
import torch
from torch.utils.data import Dataset

from s2s_lightning import BOS, EOS, PAD
from s2s_lightning.batch import Batch
from s2s_lightning.data.bucketing import BatchIndex, Lengths
from s2s_lightning.data.ragged import IntArray, Ragged


class PairDataset(Dataset[Batch]):
    """Pairs of id rows whose item is a whole batch; the sampler says which rows.

    Args:
        src: source ids without EOS.
        tgt: target ids without BOS and EOS.
        reverse_source: read each source from its end; EOS stays the last.
    """

    def __init__(self, src: Ragged, tgt: Ragged, reverse_source: bool = False) -> None:
        assert len(src.offsets) == len(tgt.offsets)
        self.src = src
        self.tgt = tgt
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
        return Batch(
            src=torch.from_numpy(src),
            src_padding=torch.from_numpy(src == PAD),
            tgt_in=torch.from_numpy(tgt_in),
            tgt_out=torch.from_numpy(tgt_out),
            divisor=torch.tensor(item.divisor, dtype=torch.float32),
            rows=torch.from_numpy(item.indices.astype(np.int64)),
        )


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
