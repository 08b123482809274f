"""Schedules of the probability of a true token over the optimizer steps (Bengio et al., 2015, arXiv:1506.03099)."""

import math
from abc import ABC, abstractmethod

from s2s_lightning.errors import check_at_least, check_below_one, check_probability


class Decay(ABC):
    """Map optimizer steps to epsilon, the probability that the decoder reads the true token."""

    @abstractmethod
    def __call__(self, step: int) -> float:
        """Epsilon after ``step`` optimizer steps."""


class ConstantDecay(Decay):
    """The same probability throughout.

    Args:
        probability: epsilon.

    Raises:
        UserError: it is not from 0 to 1.
    """

    def __init__(self, probability: float = 0.75) -> None:
        check_probability(probability=probability)
        self.probability = probability

    def __call__(self, step: int) -> float:
        return self.probability


class LinearDecay(Decay):
    """epsilon_i = max(minimum, start - slope * i).

    Args:
        slope: what is lost a step.
        start: epsilon at first.
        minimum: the lowest epsilon.

    Raises:
        UserError: a probability that is none, or a negative slope.
    """

    def __init__(self, slope: float = 1e-4, start: float = 1.0, minimum: float = 0.0) -> None:
        check_probability(start=start, minimum=minimum)
        check_at_least(0, slope=slope)
        self.slope = slope
        self.start = start
        self.minimum = minimum

    def __call__(self, step: int) -> float:
        return max(self.minimum, self.start - self.slope * step)


class ExponentialDecay(Decay):
    """epsilon_i = k^i.

    Args:
        k: 0 or more and below 1; 0.9999 is at one half after 6,931 steps.

    Raises:
        UserError: k is out of its range.
    """

    def __init__(self, k: float = 0.9999) -> None:
        check_below_one(k=k)
        self.k = k

    def __call__(self, step: int) -> float:
        return float(self.k**step)


class InverseSigmoidDecay(Decay):
    """epsilon_i = k / (k + exp(i / k)): almost 1 at first, one half at i = k log k, then almost 0.

    Args:
        k: steps, at least 1; 1,000 is at one half after 6,908 steps.

    Raises:
        UserError: k is below 1.
    """

    def __init__(self, k: int = 1000) -> None:
        check_at_least(1, k=k)
        self.k = k

    def __call__(self, step: int) -> float:
        return 1 / (1 + math.exp(min(700.0, step / self.k - math.log(self.k))))  # exp(710) overflows
