"""Learning rates over time. The optimizer's ``lr`` is the peak; a schedule multiplies it, at each optimizer step.

Steps are optimizer steps, counted from 0.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from s2s_lightning.errors import UserError, check_at_least, check_below_one
from s2s_lightning.evaluation.metrics import lower_is_better


class Scheduler(LambdaLR):
    """The peak times a factor of the step; it goes on with other groups of parameters than it had."""

    def rates(self) -> list[float]:
        """The learning rate of each group at this step."""
        pairs = zip(self.base_lrs, self.lr_lambdas, strict=True)
        return [float(peak) * factor(self.last_epoch) for peak, factor in pairs]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        own = len(self.base_lrs)
        lists = {name: state_dict[name] for name in ("base_lrs", "_last_lr") if name in state_dict}
        vars(self).update({name: value for name, value in state_dict.items() if name != "lr_lambdas"})
        for name, values in lists.items():  # all groups have the same rate
            setattr(self, name, list(values) if len(values) == own else [values[0]] * own)


class Schedule(ABC):
    """Base of learning rate schedules.

    ``interval`` says when it moves, ``monitor`` which metric it follows, if any: its scheduler is a
    ``PlateauScheduler``, which hears of each validation.
    """

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
        return Scheduler(optimizer, self._warmup)


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
        return Scheduler(optimizer, self.factor)


class EndOfRun(Schedule):
    """A schedule that ends with the run: where that ends decides about each learning rate."""

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
        return Scheduler(optimizer, partial(self.factor, total=int(total)))


class _Decay(EndOfRun, _Warmup):
    """Linear warm-up, then a decay that ends with the run."""

    def __init__(self, warmup_steps: int, end: float) -> None:
        super().__init__(warmup_steps)
        check_below_one(end=end)
        self.end = end

    def shape(self, progress: float) -> float:
        """Return the shape of the decay: from 1 at progress 0 to 0 at progress 1."""
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


class Halving(EndOfRun):
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


class Plateau(_Warmup):
    """Linear warm-up to the peak, which is cut by ``factor`` each time that a metric has stopped improving.

    Validations are counted, however many an epoch has. An improvement is one of more than 0.01 %. A resumed run goes on
    with the cuts and the count that it had, under the options that are given then.

    Args:
        monitor: the metric to follow, as it is logged.
        mode: whether a lower ("min") or a higher ("max") value of it is better; by default the metric's name says.
        factor: what the learning rate is multiplied by.
        patience: validations in a row without improvement that change nothing; one more cuts the learning rate.
        warmup_steps: steps of linear growth to the peak.
        min_lr: the learning rate below which no cut goes.

    Raises:
        UserError: a factor that is not above 0 and below 1, a negative patience or ``min_lr``, or one above the peak.
    """

    def __init__(
        self,
        monitor: str = "val/loss",
        mode: Literal["min", "max"] | None = None,
        factor: float = 0.5,
        patience: int = 2,
        warmup_steps: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(warmup_steps)
        check_at_least(0, patience=patience, min_lr=min_lr)
        if not 0 < factor < 1:
            raise UserError(f"factor={factor}: it must be above 0 and below 1")
        self.monitor: str = monitor
        self.mode = mode or ("min" if lower_is_better(monitor) else "max")
        self.factor = factor
        self.patience = patience
        self.min_lr = min_lr

    def build(self, optimizer: Optimizer, total_steps: Callable[[], float]) -> "PlateauScheduler":
        return PlateauScheduler(optimizer, self)

    def improves(self, value: float, best: float | None) -> bool:
        """True if the value is better than the best by more than 0.01 % of it; NaN never is."""
        if best is None:
            return not math.isnan(value)
        gain = best - value if self.mode == "min" else value - best
        return gain > 1e-4 * abs(best) or (math.isinf(best) and gain > 0)


class PlateauScheduler(Scheduler):
    """The scheduler of ``Plateau``: its state is what the metric has made of the peak."""

    def __init__(self, optimizer: Optimizer, schedule: Plateau) -> None:
        self.schedule = schedule
        self.best: float | None = None
        self.waited = 0
        self.cut = 1.0
        super().__init__(optimizer, schedule._warmup)
        if schedule.min_lr > min(self.base_lrs):
            raise UserError(f"min_lr={schedule.min_lr}: it must be at most the optimizer's lr, {min(self.base_lrs)}")

    def rates(self) -> list[float]:
        cut = (max(float(peak) * self.cut, self.schedule.min_lr) for peak in self.base_lrs)
        return [rate * self.schedule._warmup(self.last_epoch) for rate in cut]

    get_lr = rates  # type: ignore[assignment]

    def validated(self, value: float) -> None:
        """Count a validation, and cut the learning rate if there was patience for no more."""
        if self.schedule.improves(value, self.best):
            self.best, self.waited = value, 0
            return
        self.waited += 1
        if self.waited > self.schedule.patience:
            self.waited = 0
            if max(self.base_lrs) * self.cut > self.schedule.min_lr:
                self.cut *= self.schedule.factor
            rates = self.rates()
            self._last_lr = list(rates)
            for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
                group["lr"] = rate

    def state_dict(self) -> dict[str, Any]:
        return {name: value for name, value in super().state_dict().items() if name != "schedule"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if "num_bad_epochs" in state_dict:  # of an earlier version, torch's own scheduler
            rate, steps = state_dict["_last_lr"][0], max(self.schedule.warmup_steps, state_dict["last_epoch"])
            best = None if math.isinf(state_dict["best"]) else float(state_dict["best"])
            state_dict = {"best": best, "waited": state_dict["num_bad_epochs"], "last_epoch": steps,
                          "cut": rate / self.base_lrs[0], "_last_lr": state_dict["_last_lr"]}  # fmt: skip
        super().load_state_dict(state_dict)
