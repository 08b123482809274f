"""best.ckpt and last.ckpt, and those that are kept beside them."""

import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor

from s2s_lightning.callbacks.epoch_over import epoch_over
from s2s_lightning.callbacks.run import run_folder
from s2s_lightning.errors import UserError, check_at_least
from s2s_lightning.metrics import lower_is_better
from s2s_lightning.runs import become_latest
from s2s_lightning.suggest import closest, did_you_mean

Mode = Literal["min", "max"]

SAVED_AT = "s2s_lightning_saved_at"
"""Key of a checkpoint -> when it was made, in seconds since 1970: of one step the later knows its validation."""

TEMPORARY = ".tmp"
"""Suffix of a checkpoint that is being written."""


class Validated(NamedTuple):
    """A validation of this run: the optimizer steps before it, and what it said of the metric."""

    step: int
    score: float


class BestAndLast(Checkpoint):
    """Keeps two checkpoints in the run's folder: the best by a metric, and the last.

    Both are written after each validation, ``best.ckpt`` only when the metric improved, each in one atomic step.
    (Lightning's ModelCheckpoint writes ``last`` only when it has also written a best one.) Further ones, named by their
    step, are kept for averaging; a resumed run, which has a folder of its own, leaves those of the first run alone.

    Args:
        monitor: metric that decides which checkpoint is the best, as it is logged: val/loss, val/bleu, ...
        mode: whether a lower ("min") or a higher ("max") value is better; by default the metric's name says.
        keep_best: how many of the best checkpoints to keep as step_N.ckpt beside these two, for ``average --best``.
        keep_last: how many of the last checkpoints to keep so, for ``average --last``.

    Raises:
        UserError: a negative number of checkpoints.
    """

    def __init__(
        self, monitor: str = "val/loss", mode: Mode | None = None, keep_best: int = 0, keep_last: int = 0
    ) -> None:
        check_at_least(0, keep_best=keep_best, keep_last=keep_last)
        self.monitor = monitor
        self.mode: Mode = mode or inferred_mode(monitor)
        self.keep_best = keep_best
        self.keep_last = keep_last
        self.best_model_score: Tensor | None = None
        self.best_model_path = ""
        self.last_model_path = ""
        self._saved_step = -1
        self._kept: list[Validated] = []
        self._now: Validated | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._folder = run_folder(trainer) / "checkpoints"
        self._best, self._last = str(self._folder / "best.ckpt"), str(self._folder / "last.ckpt")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        score = self._score(trainer)
        if _writes_nothing(trainer):
            return
        if improved := self._improves(score):
            self.best_model_score, self.best_model_path = score, self._best
        self._now = Validated(trainer.global_step, score.item())
        with epoch_over(trainer, pl_module):
            self.save_last(trainer)
            if improved:
                trainer.save_checkpoint(self._best, weights_only=False)
            self._keep(trainer, self._now)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._saved_step != trainer.global_step:
            self.save_last(trainer)

    def save_last(self, trainer: Trainer) -> None:
        """Write ``last.ckpt`` now; on all ranks at the same step."""
        if _writes_nothing(trainer):
            return
        if self._now and self._now.step != trainer.global_step:
            self._now = None  # trained on since its validation
        trainer.save_checkpoint(self._last, weights_only=False)
        self._saved_step = trainer.global_step
        if not self.last_model_path:
            self.last_model_path = self._last
            become_latest(run_folder(trainer))

    def _keep(self, trainer: Trainer, now: Validated) -> None:
        """Write the checkpoint of ``now`` if it is one to keep, and remove those that no longer are."""
        seen = [*(v for v in self._kept if v.step != now.step), now]
        last = seen[-self.keep_last :] if self.keep_last else []
        kept = {*last, *ranked(seen, self.mode)[: self.keep_best]}
        if now in kept:
            trainer.save_checkpoint(self._path(now), weights_only=False)
        for old in {*seen} - kept - {now}:
            trainer.strategy.remove_checkpoint(self._path(old))
        self._kept = [v for v in seen if v in kept]

    def _path(self, validated: Validated) -> str:
        return str(self._folder / f"step_{validated.step:07}.ckpt")

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint[SAVED_AT] = time.time()

    def state_dict(self) -> dict[str, Any]:
        """``score``: the metric of the very weights that the checkpoint holds, None where they were not validated."""
        return {
            "monitor": self.monitor,
            "mode": self.mode,
            "score": self._now and self._now.score,
            "best_model_score": self.best_model_score,
            "best_model_path": self._best_path(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """A resumed run, which has a folder of its own, has to improve on the best of the run it goes on with."""
        if state_dict["monitor"] == self.monitor and Path(state_dict["best_model_path"]).is_file():
            self.best_model_score = state_dict["best_model_score"]
            self.best_model_path = state_dict["best_model_path"]

    def _best_path(self) -> str:
        return str(Path(self.best_model_path).absolute()) if self.best_model_path else ""

    def _improves(self, score: Tensor) -> bool:
        """NaN never does, once there is a score."""
        if self.best_model_score is None:
            return True
        best = self.best_model_score.to(score.device)
        return bool(score < best if self.mode == "min" else score > best)

    def _score(self, trainer: Trainer) -> Tensor:
        metrics = trainer.callback_metrics
        if self.monitor not in metrics:
            names = sorted(name for name in metrics if name.startswith("val/"))
            hint = did_you_mean(closest(self.monitor, names)) or f"; choose one of {', '.join(names)}"
            raise UserError(f"--checkpoint.monitor={self.monitor} is not logged{hint}")
        return metrics[self.monitor].detach().clone()


def ranked(seen: Iterable[Validated], mode: Mode) -> list[Validated]:
    """Best first; of equal scores the earlier is better, and NaN is the worst."""
    sign = 1 if mode == "min" else -1
    return sorted(seen, key=lambda v: (math.isnan(v.score), sign * v.score, v.step))


def _writes_nothing(trainer: Trainer) -> bool:
    """A ``fast_dev_run`` leaves no checkpoints."""
    return bool(getattr(trainer, "fast_dev_run", False))


def inferred_mode(monitor: str) -> Mode:
    return "min" if lower_is_better(monitor) else "max"
