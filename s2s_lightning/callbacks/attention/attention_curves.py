"""Two numbers a map of attention: how spread it is, and how close to the diagonal.

Shape letters: T target tokens, S source tokens; ... layers and heads.
"""

import torch
from torch import Tensor


def entropy(weights: Tensor) -> Tensor:
    """Mean entropy of the rows, in nats: weights (..., T, S) -> (...).

    H_t = - sum_s a_ts log a_ts, from 0 (one source token) to log S (all alike). A row is divided by its sum first,
    because those of some families (local windows, merged attention) sum to less than 1; one without weight is left out.
    """
    rows, real = _distributions(weights)
    return _mean(torch.special.entr(rows).sum(-1), real)


def diagonality(weights: Tensor, length: int | None = None) -> Tensor:
    """Measure how much closer to the diagonal weights are than even attention: (..., T, S) -> (...).

    1 - D(a) / D(even), with D(a) = mean_t sum_s a_ts |(s + 1/2) / S - (t + 1/2) / T| and tokens counted from 0. It is 1
    on the diagonal of a square, 0 for even rows, below 0 farther away (about -0.5 on the other diagonal). The measure
    is ours, for pairs whose order is alike; where order differs it says nothing about quality, and of a source that is
    read from its end it is that of the order of reading. Rows are treated as by ``entropy``. For a source of one token
    it is 1.

    Args:
        weights: the first rows, or all.
        length: T of the whole target, where they are not all.
    """
    rows, real = _distributions(weights)
    steps, width = rows.shape[-2:]
    target = (torch.arange(steps).to(rows) + 0.5) / (length or steps)
    source = (torch.arange(width).to(rows) + 0.5) / width
    distance = (source - target.unsqueeze(1)).abs()  # (T, S)
    if width == 1:
        return torch.ones_like(rows[..., 0, 0])
    even = distance.mean(-1).expand_as(real)
    return 1 - _mean((rows * distance).sum(-1), real) / _mean(even, real)


def _distributions(weights: Tensor) -> tuple[Tensor, Tensor]:
    """Rows that sum to 1 (..., T, S) in float64, and whether each had any weight (..., T)."""
    weights = weights.double()
    total = weights.sum(-1, keepdim=True)
    return weights / total.where(total > 0, 1), total.squeeze(-1) > 0


def _mean(values: Tensor, real: Tensor) -> Tensor:
    """Over the last dimension, of the real ones; NaN where there are none."""
    return (values * real).sum(-1) / real.sum(-1)
