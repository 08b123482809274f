"""Learning rates over time. The optimizer's ``lr`` is the peak; a schedule multiplies it, at each optimizer step.

Steps are optimizer steps, counted from 0.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

from s2s_lightning.errors import UserError, check_at_least, check_below_one


class Schedule(ABC):
    """How the learning rate changes. ``interval`` says when it moves, ``monitor`` which metric it follows, if any."""

    interval: Literal["step", "epoch"] = "step"
    monitor: str | None = None

    @abstractmethod
    def build(self, optimizer: Optimizer, total_steps: Callable[[], float]) -> LRScheduler:
        """The torch scheduler; ``total_steps`` counts the optimizer steps of the run when called."""


class _Warmup(Schedule):
    """Linear warm-up to the peak; UserError for a negative number of steps."""

    def __init__(self, warmup_steps: int) -> None:
        check_at_least(0, warmup_steps=warmup_steps)
        self.warmup_steps = warmup_steps

    def _warmup(self, step: int) -> float:
        return min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0


class Constant(_Warmup):
    """The peak throughout, after a linear warm-up.

    Args:
        warmup_steps: steps of linear growth to the peak.
    """

    def __init__(self, warmup_steps: int = 0) -> None:
        super().__init__(warmup_steps)

    def build(self, optimizer: Optimizer, total_steps: Callable[[], float]) -> LRScheduler:
        return LambdaLR(optimizer, self._warmup)


class InverseSqrt(_Warmup):
    """Linear warm-up, then proportional to step^-0.5 (Vaswani et al., 2017, 5.3, arXiv:1706.03762).

    The peak is the optimizer's lr; the paper's is (d_model * warmup_steps)^-0.5.

    Args:
        warmup_steps: steps of linear growth to the peak.
    """

    def __init__(self, warmup_steps: int = 4000) -> None:
        super().__init__(warmup_steps)

    def factor(self, step: int) -> float:
        """The multiple of the peak at this step."""
        return min(self._warmup(step), math.sqrt(max(self.warmup_steps, 1) / (step + 1)))

    def build(self, optimizer: Optimizer, total_steps: Callable[[], float]) -> LRScheduler:
        return LambdaLR(optimizer, self.factor)


class _OfTheRun(Schedule):
    """What depends on where the run ends."""

    @abstractmethod
    def factor(self, step: int, total: int) -> float:
        """The multiple of the peak at this step of a run of ``total`` steps."""

    def build(self, optimizer: Optimizer, total_steps: Callable[[], float]) -> LRScheduler:
        total = total_steps()
        if math.isinf(total):
            raise UserError(
                f"schedule {type(self).__name__} needs to know where the run ends: "
                "set --trainer.max_steps or --trainer.max_epochs"
            )
        return LambdaLR(optimizer, partial(self.factor, total=int(total)))


class _Decay(_OfTheRun, _Warmup):
    """Linear warm-up, then a decay that ends with the run."""

    def __init__(self, warmup_steps: int, end: float) -> None:
        super().__init__(warmup_steps)
        check_below_one(end=end)
        self.end = end

    def shape(self, progress: float) -> float:
        """From 1 at progress 0 to 0 at progress 1."""
        raise NotImplementedError

    def factor(self, step: int, total: int) -> float:
        progress = (step - self.warmup_steps) / max(1, total - self.warmup_steps)
        if progress <= 0:
            return self._warmup(step)
        return self.end + (1 - self.end) * self.shape(min(1.0, progress))


class WarmupCosine(_Decay):
    """Linear warm-up, then half a cosine to the end of the run (Loshchilov & Hutter, 2017, arXiv:1608.03983).

    Args:
        warmup_steps: steps of linear growth to the peak.
        end: where the cosine ends, as a fraction of the peak.
    """

    def __init__(self, warmup_steps: int = 500, end: float = 0.0) -> None:
        super().__init__(warmup_steps, end)

    def shape(self, progress: float) -> float:
        return 0.5 * (1 + math.cos(math.pi * progress))


class Linear(_Decay):
    """Linear warm-up, then a straight line to the end of the run.

    Args:
        warmup_steps: steps of linear growth to the peak.
        end: where the line ends, as a fraction of the peak.
    """

    def __init__(self, warmup_steps: int = 500, end: float = 0.0) -> None:
        super().__init__(warmup_steps, end)

    def shape(self, progress: float) -> float:
        return 1 - progress


class Halving(_OfTheRun):
    """The peak, then steps down: cut at ``start`` and again after each further ``every``.

    Both are fractions of the run. Sutskever et al. (2014, 3.4, arXiv:1409.3215) halve each half epoch after 5 of 7.5
    epochs: start 5 / 7.5, every 0.5 / 7.5.

    Args:
        start: the part of the run before the first cut.
        every: the part of the run between two cuts.
        factor: what a cut multiplies the learning rate by.

    Raises:
        UserError: start is not from 0 to 1, or every or factor not above 0 and at most 1.
    """

    def __init__(self, start: float, every: float, factor: float = 0.5) -> None:
        if not 0 <= start <= 1:
            raise UserError(f"start={start}: it is a fraction of the run, from 0 to 1")
        for name, value in (("every", every), ("factor", factor)):
            if not 0 < value <= 1:
                raise UserError(f"{name}={value}: it must be above 0 and at most 1")
        self.start = start
        self.every = every
        self.cut = factor

    def factor(self, step: int, total: int) -> float:
        since = step - round(self.start * total)
        cuts = 0 if since < 0 else 1 + since // max(1, round(self.every * total))
        return float(self.cut**cuts)


class Plateau(Schedule):
    """The peak, cut by ``factor`` when a metric has not improved for ``patience`` epochs.

    Args:
        monitor: the metric to follow, as it is logged.
        mode: whether a lower ("min") or a higher ("max") value of it is better.
        factor: what the learning rate is multiplied by.
        patience: epochs without improvement before it is.
    """

    interval = "epoch"

    def __init__(
        self,
        monitor: str = "val/loss",
        mode: Literal["min", "max"] = "min",
        factor: float = 0.5,
        patience: int = 2,
    ) -> None:
        self.monitor = monitor
        self.mode: Literal["min", "max"] = mode
        self.factor = factor
        self.patience = patience

    def build(self, optimizer: Optimizer, total_steps: Callable[[], float]) -> LRScheduler:
        return ReduceLROnPlateau(optimizer, self.mode, self.factor, self.patience)
