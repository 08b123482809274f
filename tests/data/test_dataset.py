"""Batches gathered with numpy equal those of a loop over Python lists."""

import numpy as np
import torch

from s2s_lightning import BOS, EOS, PAD
from s2s_lightning.data.bucket_sampler import BatchIndex
from s2s_lightning.data.dataset import PairDataset
from s2s_lightning.data.ragged import Ragged


def padded(rows: list[list[int]]) -> torch.Tensor:
    width = max(map(len, rows))
    return torch.tensor([row + [PAD] * (width - len(row)) for row in rows])


def test_batches_equal_those_of_a_slow_collate() -> None:
    rng = np.random.default_rng(0)
    src, tgt = ([rng.integers(4, 50, rng.integers(0, 9)).tolist() for _ in range(40)] for _ in range(2))
    dataset = PairDataset(Ragged.from_lists(src, np.uint16), Ragged.from_lists(tgt, np.uint16))
    for _ in range(20):
        chosen = rng.permutation(40)[: rng.integers(1, 12)].astype(np.int32)
        batch = dataset[BatchIndex(chosen, 7.0)]
        assert torch.equal(batch.src, padded([src[i] + [EOS] for i in chosen]))
        assert torch.equal(batch.src_padding, batch.src == PAD)
        assert torch.equal(batch.tgt_in, padded([[BOS, *tgt[i]] for i in chosen]))
        assert torch.equal(batch.tgt_out, padded([tgt[i] + [EOS] for i in chosen]))
        assert batch.rows.tolist() == chosen.tolist()
        assert batch.divisor == 7.0


def test_empty_sentences_are_a_single_eos() -> None:
    empty = Ragged.from_lists([[], []])
    batch = PairDataset(empty, empty)[BatchIndex(np.array([0, 1]), 2.0)]
    assert batch.src.tolist() == batch.tgt_out.tolist() == [[EOS], [EOS]]
    assert batch.tgt_in.tolist() == [[BOS], [BOS]]


def test_a_reversed_source_is_the_source_from_its_end_with_eos_still_last() -> None:
    src, tgt = Ragged.from_lists([[5, 6, 7], [], [8], [9, 4]]), Ragged.from_lists([[5, 6]] * 4)
    rows = BatchIndex(np.arange(4), 1.0)
    batch, forward = PairDataset(src, tgt, reverse_source=True)[rows], PairDataset(src, tgt)[rows]
    assert torch.equal(batch.src, padded([[7, 6, 5, EOS], [EOS], [8, EOS], [4, 9, EOS]]))
    assert torch.equal(batch.src_padding, batch.src == PAD)
    assert torch.equal(batch.tgt_in, forward.tgt_in)
    assert torch.equal(batch.tgt_out, forward.tgt_out)


def test_lengths_count_eos() -> None:
    dataset = PairDataset(Ragged.from_lists([[5, 6], []]), Ragged.from_lists([[5], [6, 7, 8]]))
    assert dataset.lengths().src.tolist() == [3, 1]
    assert dataset.lengths().tgt.tolist() == [2, 4]
