"""The learning rate by a range test, before training."""

import csv
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import _TunerExitException

from s2s_lightning.callbacks.diagnostics.rehearsal import optimizer_step, rehearsal, training_loader, training_windows
from s2s_lightning.callbacks.reports.media import log_picture
from s2s_lightning.data.progress_bar import progress
from s2s_lightning.errors import UserError, check_at_least, check_below_one
from s2s_lightning.runs.trainer_queries import run_folder

OPTION = "--optimizer.init_args.lr"


class Curve(NamedTuple):
    """Result of a range test: three (N,) arrays.

    Attributes:
        rates: the learning rate of each step, growing by the same factor.
        losses: of each step, per target token.
        smoothed: their exponential average, corrected for its start at zero.
    """

    rates: npt.NDArray[np.float64]
    losses: npt.NDArray[np.float64]
    smoothed: npt.NDArray[np.float64]


class Suggestion(NamedTuple):
    """Learning rates that a curve speaks for.

    Attributes:
        lowest: where the smoothed loss is least.
        steepest: where, before that, it falls fastest against the logarithm of the learning rate.
    """

    lowest: float
    steepest: float


class FindLearningRate(Callback):
    """Learning-rate range test (Smith, 2017, arXiv:1506.01186) before the first step of a run.

    The learning rate grows by the same factor from step to step over real training batches, and the loss is watched
    until it diverges; then all is as before. (The paper's grows linearly and looks at the accuracy.) Writes
    ``lr_finder.png`` and ``lr_finder.csv``, and prints what to type. The learning rate is that of all parameter groups,
    and the peak of the schedule, which takes no part. A resumed run is not tested again.

    Suggested is a tenth of the learning rate of the least loss, beyond which the loss rises: a choice, made because a
    slope is a difference of neighbouring losses, whose batches differ. The steepest descent is shown too.

    Args:
        min_lr: where it begins.
        max_lr: where it ends unless the loss diverges first.
        num_steps: optimizer steps from the one to the other.
        smoothing: weight of the past in the exponential average of the loss: it lags smoothing / (1 - smoothing) steps
            behind, 9 by default, in which the learning rate grows 1.9 times.
        divergence: the test ends when the smoothed loss is above this multiple of its least value, or no number.
        then: "end" ends the run, "apply" trains with what was suggested, "train" with what was set.

    Raises:
        UserError: a range that is empty, fewer steps than twice what the average looks back, or nothing to apply.
    """

    needs_whole_weights = True

    def __init__(
        self,
        min_lr: float = 1e-6,
        max_lr: float = 1.0,
        num_steps: int = 200,
        *,
        smoothing: float = 0.9,
        divergence: float = 4.0,
        then: Literal["end", "apply", "train"] = "end",
    ) -> None:
        if not 0 < min_lr < max_lr:
            raise UserError(f"min_lr={min_lr} and max_lr={max_lr}: they must be above 0, the second above the first")
        check_at_least(1, divergence=divergence)
        check_below_one(smoothing=smoothing)
        self.skip = round(1 / (1 - smoothing))
        check_at_least(2 * self.skip, num_steps=num_steps)
        self.min_lr = min_lr
        self.max_lr = max_lr
        self.num_steps = num_steps
        self.smoothing = smoothing
        self.divergence = divergence
        self.then = then

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step > 0:
            pl_module.print("learning rate: a resumed run keeps its own; nothing is looked for")
            return
        with rehearsal(trainer, pl_module):
            losses = list(self._losses(trainer, pl_module))
        curve = Curve(self.rates()[: len(losses)], np.array(losses), smoothed(losses, self.smoothing))
        found = suggestion(curve, self.skip)
        if trainer.is_global_zero:
            _write(curve, run_folder(trainer) / "lr_finder.csv")
            _draw(curve, found, run_folder(trainer) / "lr_finder.png")
            log_picture(trainer, "lr_finder", run_folder(trainer) / "lr_finder.png")
        pl_module.print(f"learning rate: {self._message(curve, found)}  (lr_finder.png, lr_finder.csv)")
        if self.then == "apply":
            if found is None:
                raise UserError("then=apply has no learning rate to apply: see lr_finder.png in the run folder")
            apply(trainer, suggested(found))
        elif self.then == "end":
            pl_module.print(f"run folder  {run_folder(trainer)}")
            raise _TunerExitException  # Lightning's own end of a run that was only to find something

    def rates(self) -> npt.NDArray[np.float64]:
        """Return the rate of each step, (num_steps,)."""
        return np.geomspace(self.min_lr, self.max_lr, self.num_steps)

    def _losses(self, trainer: Trainer, pl_module: LightningModule) -> Iterator[float]:
        """Step by step, the same on all ranks, until they diverge."""
        (optimizer,) = trainer.optimizers
        rates: Iterable[float] = self.rates().tolist()
        if trainer.is_global_zero:
            rates = progress(rates, "Finding the learning rate", "steps")
        seen: list[float] = []
        for rate, window in zip(rates, training_windows(trainer, training_loader(trainer)), strict=False):
            for group in optimizer.param_groups:
                group["lr"] = rate
            loss = optimizer_step(trainer, pl_module, window).item()
            if not math.isfinite(loss):
                return
            seen.append(loss)
            yield loss
            average = smoothed(seen, self.smoothing)
            if average[-1] > self.divergence * average.min():
                return

    def _message(self, curve: Curve, found: Suggestion | None) -> str:
        if not len(curve.losses):
            return "none, for the loss is no number at the first step"
        if found is None:
            return f"the loss never fell from {self.min_lr:g} on; lower min_lr, or take more num_steps"
        seen = f"least loss at {found.lowest:.1e}, steepest descent at {found.steepest:.1e}"
        if found.lowest == curve.rates[-1] and len(curve.rates) == self.num_steps:
            return f"{seen}, but the loss still fell at {self.max_lr:g}; raise max_lr"
        return f"{seen}; suggested: {OPTION} {suggested(found):g}"


def smoothed(losses: list[float], smoothing: float) -> npt.NDArray[np.float64]:
    """s_t = (1 - b) sum_i b^(t - i) l_i / (1 - b^t), (N,)."""
    average, averages = 0.0, []
    for t, loss in enumerate(losses, 1):
        average = smoothing * average + (1 - smoothing) * loss
        averages.append(average / (1 - smoothing**t))
    return np.array(averages)


def suggestion(curve: Curve, skip: int) -> Suggestion | None:
    """Read off after the first ``skip`` steps, of which the average knows too few; None where the loss never fell."""
    rates, losses = curve.rates[skip:], curve.smoothed[skip:]
    lowest = int(losses.argmin()) if len(losses) else 0
    if lowest == 0:
        return None
    slopes = np.diff(losses[: lowest + 1])
    return Suggestion(float(rates[lowest]), float(rates[int(slopes.argmin()) + 1]))


def suggested(found: Suggestion) -> float:
    """A tenth of the learning rate of the least loss, to two digits."""
    return float(f"{found.lowest / 10:.1e}")


def apply(trainer: Trainer, rate: float) -> None:
    """Make ``rate`` the peak of the schedule."""
    (optimizer,) = trainer.optimizers
    for group in optimizer.param_groups:
        peak = group.get("initial_lr", group["lr"])
        group["lr"] = group["lr"] / peak * rate
        group["initial_lr"] = rate
    for config in trainer.lr_scheduler_configs:
        if hasattr(config.scheduler, "base_lrs"):
            config.scheduler.base_lrs = [rate] * len(optimizer.param_groups)


def _write(curve: Curve, path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["lr", "loss", "smoothed"])
        writer.writerows(zip(*(column.tolist() for column in curve), strict=True))


def _draw(curve: Curve, found: Suggestion | None, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(curve.rates, curve.losses, color="0.8", linewidth=1, label="loss of a step")
    axes.plot(curve.rates, curve.smoothed, color="C0", label="smoothed")
    if found is not None:
        marks = {"suggested": suggested(found), "steepest descent": found.steepest, "least loss": found.lowest}
        for (name, rate), style in zip(marks.items(), ("-", "--", ":"), strict=True):
            axes.axvline(rate, color="C1", linestyle=style, linewidth=1, label=f"{name} {rate:.1e}")
    if found is not None:  # the divergence may leave the picture
        least, top = curve.smoothed.min(), np.quantile(curve.smoothed, 0.9)
        axes.set_ylim(least - 0.2 * (top - least), least + 1.4 * (top - least))
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss of a target token")
    axes.legend(fontsize=8)
    figure.savefig(path)
