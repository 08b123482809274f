"""Length penalties, by which a search compares hypotheses of unequal lengths: score = log_prob / divisor(length).

Lengths are in tokens, EOS counted if it was emitted: the number of terms in ``log_prob``.
"""

import math
from abc import ABC, abstractmethod

from torch import Tensor

from s2s_lightning.errors import UserError


class LengthPenalty(ABC):
    """A divisor of the log-probability that never falls as the output grows.

    Exact stopping rests on that: log_prob only falls, so the best that a hypothesis can still reach is its log_prob of
    now over the divisor of its maximum length.
    """

    @abstractmethod
    def divisor(self, length: Tensor) -> Tensor:
        """Positive, of the shape of ``length``, which is floating."""

    def score(self, log_prob: Tensor, length: Tensor) -> Tensor:
        """Return the score for ranking; length (B,) holds for each row of log_prob (B, ...)."""
        divisor = self.divisor(length.to(log_prob.dtype))
        return log_prob / divisor.view(-1, *[1] * (log_prob.ndim - 1))


class NoPenalty(LengthPenalty):
    """score = log_prob: the most probable output, often too short (Koehn & Knowles, 2017, 3.6, arXiv:1706.03872)."""

    def divisor(self, length: Tensor) -> Tensor:
        return length.new_ones(length.shape)


class Average(LengthPenalty):
    """score = log_prob / length (Jean et al., 2015, WMT)."""

    def divisor(self, length: Tensor) -> Tensor:
        return length


class Power(LengthPenalty):
    """score = log_prob / length^alpha.

    Args:
        alpha: 0 is no penalty, 1 the average.
    """

    def __init__(self, alpha: float = 0.6) -> None:
        self.alpha = _not_negative(alpha)

    def divisor(self, length: Tensor) -> Tensor:
        return length**self.alpha


class GNMT(LengthPenalty):
    """score = log_prob / ((5 + length) / 6)^alpha (Wu et al., 2016, 7, arXiv:1609.08144), without its coverage term.

    Args:
        alpha: 0 is no penalty; the paper's best values are 0.2 to 0.6, the Transformer's is 0.6.
    """

    def __init__(self, alpha: float = 0.6) -> None:
        self.alpha = _not_negative(alpha)

    def divisor(self, length: Tensor) -> Tensor:
        return ((5 + length) / 6) ** self.alpha


def _not_negative(alpha: float) -> float:
    if not 0 <= alpha < math.inf:
        raise UserError(
            f"alpha {alpha} of the length penalty must be finite and not negative: exact stopping rests on it"
        )
    return alpha
