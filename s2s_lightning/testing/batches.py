"""Small batches of random ids, and the same pairs with more padding or alone."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from s2s_lightning import BOS, EOS, PAD
from s2s_lightning.model import Batch

SRC_VOCAB, TGT_VOCAB = 17, 13
"""Symbols that the batches have; a network's vocabularies may be larger."""

COLUMNS = 11
"""Columns of padding that a law adds."""

Pairs = Sequence[tuple[Sequence[int], Sequence[int]]]


def pad(rows: Sequence[Sequence[int]], length: int = 0) -> Tensor:
    """Return rows of ids as one (B, max(length, longest)) tensor."""
    width = max(length, *(len(row) for row in rows))
    return torch.tensor([[*row, *[PAD] * (width - len(row))] for row in rows])


def batch_of(pairs: Pairs, padding: int = 0) -> Batch:
    """Return pairs of ids (without BOS and EOS) as a batch, both sides padded to at least ``padding``."""
    src = pad([[*s, EOS] for s, _ in pairs], padding)
    tgt_out = pad([[*t, EOS] for _, t in pairs], padding)
    tgt_in = pad([[BOS, *t] for _, t in pairs], padding)
    tokens = (tgt_out != PAD).sum().float()
    return Batch(src, src == PAD, tgt_in, tgt_out, tokens, torch.arange(len(pairs)))


def random_pairs(count: int, seed: int = 0, longest: int = 7) -> list[tuple[list[int], list[int]]]:
    """Return random pairs of unequal lengths; the first source is empty."""
    generator = torch.Generator().manual_seed(seed)

    def ids(low: int, vocab: int) -> list[int]:
        length = int(torch.randint(low, longest + 1, (), generator=generator))
        return torch.randint(4, vocab, (length,), generator=generator).tolist()

    return [([] if row == 0 else ids(1, SRC_VOCAB), ids(1, TGT_VOCAB)) for row in range(count)]


def random_batch(model: nn.Module, count: int, longest: int = 7) -> Batch:
    """Return random pairs as a batch on the device of a network."""
    return on_device(batch_of(random_pairs(count, longest=longest)), model)


def on_device(batch: Batch, model: nn.Module) -> Batch:
    """Move a batch to where a network is."""
    device = next(model.parameters()).device
    return batch._replace(**{name: x.to(device) for name, x in batch._asdict().items() if x is not None})


def random_tokens(model: nn.Module, rows: int, length: int) -> Tensor:
    """Return random target ids (rows, length) on the device of a network; none is PAD, BOS, EOS or UNK."""
    tokens = torch.randint(4, TGT_VOCAB, (rows, length), generator=torch.Generator().manual_seed(rows))
    return tokens.to(next(model.parameters()).device)


def widened(batch: Batch, columns: int = COLUMNS) -> Batch:
    """Add columns of padding to both sides."""
    sides = {
        name: nn.functional.pad(x, (0, columns), value=True if x.dtype == torch.bool else PAD)
        for name, x in batch._asdict().items()
        if x is not None and x.ndim == 2
    }
    return batch._replace(**sides)


def one_row(batch: Batch, row: int) -> Batch:
    """Return one pair of a batch with the padding that it has there."""
    rows = {name: x[row : row + 1] for name, x in batch._asdict().items() if x is not None and x.ndim}
    return batch._replace(**rows)


def trimmed(batch: Batch, row: int) -> Batch:
    """Return one pair of a batch without padding."""
    alone = one_row(batch, row)
    source, target = int((~alone.src_padding).sum()), int((alone.tgt_out != PAD).sum())
    copied = None if alone.src_copy is None else alone.src_copy[:, :source]
    return alone._replace(
        src=alone.src[:, :source],
        src_padding=alone.src_padding[:, :source],
        tgt_in=alone.tgt_in[:, :target],
        tgt_out=alone.tgt_out[:, :target],
        src_copy=copied,
    )
