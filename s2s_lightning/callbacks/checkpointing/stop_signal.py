"""A run that is asked to end from outside: by Ctrl-C, by a cluster, by a sweep."""

import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.utilities import rank_zero_info

from s2s_lightning.callbacks.checkpointing.checkpoints import BestAndLast
from s2s_lightning.callbacks.checkpointing.restart import batches_seen
from s2s_lightning.cluster.requeue import own_job, requeue
from s2s_lightning.cluster.signals import GRACEFUL, STOP, asked, graceful, in_slurm, turn_deaf

SECONDS = 2.0
"""Between two questions of the ranks whether one of them was asked to end: each makes them wait for each other."""

LAST_WORDS = 30.0
"""Seconds that loggers have for what they still hold before the job is requeued."""


class Agreement:
    """Request to stop that any rank got, shared with all ranks at the same place; each rank gets its own at any place.

    The ranks also agree on the place of their next question, by the pace of the slowest: about ``SECONDS`` away,
    however long a batch takes.
    """

    def __init__(self) -> None:
        self._due = 0
        self._last: tuple[int, float] | None = None

    def __call__(self, trainer: Trainer, number: float, batch: int) -> float:
        """0 where nothing was asked, or where it is not yet time to know.

        Args:
            trainer: of the run.
            number: what this rank was asked for.
            batch: how many the run has had, which is the same on all ranks.
        """
        if trainer.world_size == 1:
            return number
        if batch < self._due:
            return 0
        now = time.monotonic()
        pace = SECONDS if self._last is None else (now - self._last[1]) / max(1, batch - self._last[0])
        said = torch.tensor([number, pace], device=trainer.strategy.root_device)
        number, pace = trainer.strategy.reduce(said, reduce_op="max").tolist()
        self._due, self._last = batch + max(1, int(SECONDS / max(pace, 1e-4))), (batch, now)
        return float(number)


class StopWhenAsked(Callback):
    """A signal ends the run after a batch of training or of validation, with its state in last.ckpt.

    Ctrl-C, SIGTERM, SIGUSR1 and SIGHUP (a lost connection) do, on any rank. The same signal again ends at once. Not so
    in a SLURM job, which sends more than one: the run is saved, and the job goes back into its queue.

    Args:
        checkpoints: what writes last.ckpt; without it the run ends all the same.
    """

    def __init__(self, checkpoints: BestAndLast | None) -> None:
        self.checkpoints = checkpoints
        self.number = 0
        self._previous: dict[int, Any] = {}
        self._training, self._validation = Agreement(), Agreement()
        self._validated = 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        take_over(trainer)
        if threading.current_thread() is threading.main_thread():
            numbers = (signal.SIGINT,) if in_slurm() else (signal.SIGINT, *graceful())
            self._previous = {number: signal.signal(number, self._hear) for number in numbers}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A signal that came while all was being made; nothing is new that must be saved."""
        self._answer(trainer, self._training(trainer, asked.number, batches_seen(trainer)), save=False)

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        """After each micro-batch: a window of accumulation may be long, and is begun anew when the run goes on."""
        self._answer(trainer, self._training(trainer, asked.number, batches_seen(trainer)))

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._validation, self._validated = Agreement(), 0
            self._leave_validation(trainer)

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._validated += 1
            self._leave_validation(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """A run that fails ends as any process does; one that is asked to end lets its loggers finish."""
        if self._previous and not self.number:
            self._previous = {**dict.fromkeys(graceful(), signal.SIG_DFL), **self._previous}
            self._restore()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """A job that has done its work ends well, even if it is asked to end while Python does."""
        self._restore()
        if in_slurm():
            turn_deaf()

    def _leave_validation(self, trainer: Trainer) -> None:
        """Leave a validation, but not for ``STOP``, which has the time to wait for its end."""
        number = self._validation(trainer, asked.number, self._validated)
        if number > STOP:
            if self._validated:
                give_weights_back(trainer)
            self._answer(trainer, number)

    def _answer(self, trainer: Trainer, number: float, save: bool = True) -> None:
        if not number:
            return
        asked.number = 0
        if number == STOP:
            if not trainer.should_stop:
                rank_zero_info(f"the sweep stops this trial at step {trainer.global_step}")
            trainer.should_stop = True
            return
        if save and self.checkpoints is not None:
            self.checkpoints.save_last(trainer)
        self.number = int(number)
        if trainer.is_global_zero and number in GRACEFUL and (job := own_job()):
            late = threading.Timer(LAST_WORDS, requeue, (job,))
            late.daemon = True
            late.start()
        raise KeyboardInterrupt

    def _hear(self, number: int, frame: FrameType | None) -> None:
        asked.hear(number)
        if not in_slurm():
            signal.signal(number, self._previous[number])
        if number == signal.SIGINT:
            print("\nstopping after this step; Ctrl-C again stops at once", flush=True)

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def leave(self, trainer: Trainer) -> int:
        """The exit code of a run that was asked to end; its job goes back into the queue."""
        number = self.number or signal.SIGINT
        if job := own_job():
            turn_deaf()  # SLURM ends all processes of a requeued job
            if "wandb" in sys.modules:
                sys.modules["wandb"].teardown()  # now, and not when its own process is already gone
            if not trainer.is_global_zero:
                return 0  # srun would end the first rank, which has more to do, for any other
            if number in GRACEFUL and requeue(job):
                return 0
        return 128 + number


def take_over(trainer: Trainer) -> None:
    """Lightning's own handler of SIGTERM talks to the other ranks where it stands, and waits for those that do not.

    What comes of it is asked of the first rank at each step, and an error of the network is taken for a no.
    """
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]


def give_weights_back(trainer: Trainer) -> None:
    """Validation is of the averaged weights where there are some; training goes on with its own."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, WeightAveraging):
            WeightAveraging.on_validation_epoch_end(callback, trainer, trainer.lightning_module)
