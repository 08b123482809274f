"""best.ckpt and last.ckpt, and those that are kept beside them."""

import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor

from s2s_lightning.callbacks.checkpointing.epoch_over import epoch_over
from s2s_lightning.callbacks.checkpointing.restart import batches_seen, ends_here, move, settle
from s2s_lightning.checkpoints.keys import SAVED_AT
from s2s_lightning.data.position import in_window
from s2s_lightning.errors import UserError, check_at_least, closest, did_you_mean
from s2s_lightning.evaluation.metrics import lower_is_better
from s2s_lightning.runs.folder import become_latest
from s2s_lightning.runs.growing_files import LINES, lines_of
from s2s_lightning.runs.trainer_queries import run_folder
from s2s_lightning.runs.whole_files import WholeFiles

Mode = Literal["min", "max"]

PREVIOUS = {"last.ckpt": "previous.ckpt"}
"""Name of a checkpoint -> that of the one which it has replaced."""

AGREE_EVERY = 20
"""Steps between two questions to the first rank whether it is time to save: each is a synchronisation."""


class Validated(NamedTuple):
    """A validation of this run: the optimizer steps before it, and what it said of the metric."""

    step: int
    score: float


class BestAndLast(Checkpoint):
    """Keeps two checkpoints in the run's folder: the best by a metric, and the last.

    Both are written after each validation, ``best.ckpt`` only when the metric improved; ``last.ckpt`` also in between,
    as often as is asked for, and what it was before stays as ``previous.ckpt``. Each is whole at any moment, and a run
    resumed from any of them goes on as if it had never stopped: none holds half a window of accumulation.
    (Lightning's ModelCheckpoint writes ``last`` only when it has also written a best one.) Further ones, named by their
    step, are kept for averaging; a run resumed in another folder leaves those of the first run alone.

    Args:
        monitor: metric that decides which checkpoint is the best, as it is logged: val/loss, val/bleu, ...
        mode: whether a lower ("min") or a higher ("max") value is better; by default the metric's name says.
        keep_best: how many of the best checkpoints to keep as step_N.ckpt beside these two, for ``average --best``.
        keep_last: how many of the last checkpoints to keep so, for ``average --last``.
        every_minutes: the longest time between two writings of last.ckpt, validations apart; null: no limit.
        every_steps: the largest number of optimizer steps between two of them; null: no limit.

    Raises:
        UserError: a negative number or time, or no steps.
    """

    def __init__(
        self,
        monitor: str = "val/loss",
        mode: Mode | None = None,
        keep_best: int = 0,
        keep_last: int = 0,
        *,
        every_minutes: float | None = 15.0,
        every_steps: int | None = None,
    ) -> None:
        check_at_least(0, keep_best=keep_best, keep_last=keep_last, every_minutes=every_minutes)
        check_at_least(1, every_steps=every_steps)
        self.monitor = monitor
        self.mode: Mode = mode or inferred_mode(monitor)
        self.keep_best = keep_best
        self.keep_last = keep_last
        self.every_minutes = every_minutes
        self.every_steps = every_steps
        self.best_model_score: Tensor | None = None
        self.best_model_path = ""
        self.last_model_path = ""
        self._saved_step = -1
        self._saved_time = time.monotonic()
        self._validated = -1
        self._moved = 0
        self._came_from = Path()
        self._kept: list[Validated] = []
        self._dropped: list[int] = []
        self._now: Validated | None = None

    def followed(self) -> list[tuple[str, str]]:
        """Return the option that names the metric, and the metric."""
        return [("--checkpoint.monitor", self.monitor)]

    # When

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._folder = run_folder(trainer) / "checkpoints"
        self._best, self._last = str(self._folder / "best.ckpt"), str(self._folder / "last.ckpt")
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            trainer.strategy.checkpoint_io = WholeFiles(PREVIOUS)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._saved_time = time.monotonic()
        if trainer.strategy.restore_checkpoint_after_setup and trainer.fit_loop._data_fetcher is not None:
            iter(trainer.fit_loop._data_fetcher)  # workers may have begun before the place in the data was known
        _refuse_other_starts(trainer)
        if self._goes_on_here(trainer):  # what was loaded is there already
            self._saved_step = trainer.global_step

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        trainer.fit_loop.epoch_loop._batches_that_stepped = trainer.global_step  # Lightning's restarts miscount it
        self._save_if_due(trainer)

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        if batches_seen(trainer) == self._validated:  # in the window of accumulation that is made again
            trainer.fit_loop.epoch_loop._skip_next_val = True

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking and trainer.state.fn == "fit":
            self._save_if_due(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        trainer.fit_loop._restarting = False  # of an epoch that has its metrics, schedules that follow them are stepped
        score = self._score(trainer)
        if _writes_nothing(trainer):
            return
        if improved := self._improves(score):
            self.best_model_score, self.best_model_path = score, self._best
        self._now = Validated(trainer.global_step, score.item())
        self._validated = batches_seen(trainer)
        with epoch_over(trainer, pl_module):
            if improved:  # before last.ckpt, which says that it is there
                trainer.save_checkpoint(self._best, weights_only=False)
            self._keep(trainer, self._now)
            self.save_last(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._saved_step != trainer.global_step:
            self.save_last(trainer)

    def save_last(self, trainer: Trainer) -> None:
        """Write ``last.ckpt`` now; on all ranks at the same step.

        At the end of a micro-batch it is for a run that ends there: what the loggers would be told next is told now.
        """
        if _writes_nothing(trainer):
            return
        if self._now and self._now.step != trainer.global_step:
            self._now = None  # trained on since its validation
        if ends_here(trainer):
            trainer._logger_connector.update_train_step_metrics()
        trainer.save_checkpoint(self._last, weights_only=False)
        self._saved_step, self._saved_time = trainer.global_step, time.monotonic()
        if not self.last_model_path:
            self.last_model_path = self._last
            become_latest(run_folder(trainer))

    def _save_if_due(self, trainer: Trainer) -> None:
        between_steps = not in_window(trainer)
        if between_steps and trainer.global_step not in (0, self._saved_step) and self._due(trainer):
            self.save_last(trainer)

    def _due(self, trainer: Trainer) -> bool:
        """The same on all ranks."""
        if self.every_steps and trainer.global_step - max(0, self._saved_step) >= self.every_steps:
            return True
        if self.every_minutes is None or (trainer.world_size > 1 and trainer.global_step % AGREE_EVERY):
            return False
        late = time.monotonic() - self._saved_time >= 60 * self.every_minutes
        return bool(trainer.strategy.broadcast(late)) if trainer.world_size > 1 else late

    def _keep(self, trainer: Trainer, now: Validated) -> None:
        """Write the checkpoint of ``now`` if it is one to keep, and remove those that no longer are."""
        seen = [*(v for v in self._kept if v.step != now.step), now]
        last = seen[-self.keep_last :] if self.keep_last else []
        kept = {*last, *ranked(seen, self.mode)[: self.keep_best]}
        self._kept = [v for v in seen if v in kept]
        self._dropped = [v.step for v in seen if v not in kept and v != now]
        if now in kept:
            trainer.save_checkpoint(self._path(now.step), weights_only=False)
        self._remove_dropped(trainer)

    def _remove_dropped(self, trainer: Trainer) -> None:
        for step in self._dropped:
            trainer.strategy.remove_checkpoint(self._path(step))

    def _path(self, step: int) -> str:
        return str(self._folder / f"step_{step:07}.ckpt")

    # What a checkpoint holds

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint[SAVED_AT] = time.time()
        checkpoint[LINES] = lines_of(trainer)
        settle(checkpoint["loops"], trainer, validated=self._validated == batches_seen(trainer))

    def state_dict(self) -> dict[str, Any]:
        """``score``: the metric of the very weights that the checkpoint holds, None where they were not validated."""
        return {
            "monitor": self.monitor,
            "mode": self.mode,
            "score": self._now and self._now.score,
            "best_model_score": self.best_model_score,
            "best_model_path": self._best_path(),
            "validated": self._validated,
            "kept": [list(validated) for validated in self._kept],
            "dropped": self._dropped,
        }

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """The place in the epoch, should the ranks be others now; what only a run in the same folder goes on with."""
        self._came_from = Path(trainer.ckpt_path or "").parent
        start = getattr(trainer.datamodule, "start", None)  # type: ignore[attr-defined]
        if trainer.state.fn == "fit" and start is not None and start.before:
            self._moved = move(checkpoint["loops"], start.batches)
        if not self._goes_on_here(trainer):
            return
        state = checkpoint["callbacks"].get(self.state_key, {})
        if state.get("monitor") == self.monitor:
            self._kept = [Validated(*each) for each in state.get("kept", []) if Path(self._path(each[0])).is_file()]
        self._dropped = state.get("dropped", [])
        self._remove_dropped(trainer)
        if Path(self._last).is_file():
            self.last_model_path = self._last

    def _goes_on_here(self, trainer: Trainer) -> bool:
        """True if the run was resumed from a checkpoint in its own folder."""
        path = trainer.ckpt_path if trainer.state.fn == "fit" else None
        return path is not None and Path(path).resolve().parent == self._folder.resolve()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """A resumed run has to improve on the best of the run it goes on with, wherever that is now.

        It lies beside the checkpoint, also where the folder was moved or copied; else where the checkpoint says.
        """
        self._validated = state_dict.get("validated", -1) + self._moved
        if state_dict["monitor"] != self.monitor or state_dict["best_model_score"] is None:
            return
        stored = state_dict["best_model_path"]
        for path in (str(self._came_from / Path(stored).name), stored, self._best):
            if stored and Path(path).is_file():
                self.best_model_score, self.best_model_path = state_dict["best_model_score"], path
                return

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
            self.save_last(trainer)  # what was trained is not lost
            raise UserError(f"--checkpoint.monitor={self.monitor} is not logged{hint}")
        return metrics[self.monitor].detach().clone()


def ranked(seen: Iterable[Validated], mode: Mode) -> list[Validated]:
    """Best first; of equal scores the earlier is better, and NaN is the worst."""
    sign = 1 if mode == "min" else -1
    return sorted(seen, key=lambda v: (math.isnan(v.score), sign * v.score, v.step))


def _refuse_other_starts(trainer: Trainer) -> None:
    """Each rank has looked for itself for what to go on from, perhaps on a disk that shows it late what is new."""
    own = (Path(trainer.ckpt_path).name if trainer.ckpt_path else None, trainer.global_step)
    first = trainer.strategy.broadcast(own)
    if first != own:
        raise UserError(
            f"rank {trainer.global_rank} goes on from {own[0]} at step {own[1]}, but the first rank from {first[0]} at "
            f"step {first[1]}: start again, when all nodes see the same files"
        )


def _writes_nothing(trainer: Trainer) -> bool:
    """A ``fast_dev_run`` leaves no checkpoints."""
    return bool(getattr(trainer, "fast_dev_run", False))


def inferred_mode(monitor: str) -> Mode:
    return "min" if lower_is_better(monitor) else "max"
