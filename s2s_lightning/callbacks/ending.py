"""How a run ends: with a validation, or with a checkpoint when Ctrl-C is pressed."""

import signal
from types import FrameType
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from s2s_lightning.callbacks.checkpoints import BestAndLast

AGREE_EVERY = 20
"""Steps between two questions of the ranks whether one of them was interrupted: each is a synchronisation."""


class ValidateAtEnd(Callback):
    """A run that ``max_steps`` ends between two validations validates once more, so that its end is judged too."""

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        if 0 < trainer.max_steps <= trainer.global_step:
            trainer.should_stop = True  # to which the training loop's answer is a validation


class StopOnInterrupt(Callback):
    """Ctrl-C ends the run after the step that is being trained, with its state in last.ckpt; a second one at once.

    Args:
        checkpoints: what writes last.ckpt.
    """

    def __init__(self, checkpoints: BestAndLast) -> None:
        self.checkpoints = checkpoints
        self._requested = False
        self._previous: Any = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._previous = signal.signal(signal.SIGINT, self._request)

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        # Ranks get the signal at different steps, but must save at the same one.
        if trainer.world_size > 1 and trainer.global_step % AGREE_EVERY:
            return
        if trainer.strategy.reduce_boolean_decision(self._requested, all=False):
            self.checkpoints.save_last(trainer)
            raise KeyboardInterrupt

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)

    def _request(self, number: int, frame: FrameType | None) -> None:
        self._requested = True
        signal.signal(signal.SIGINT, self._previous)
        print("\nstopping after this step; Ctrl-C again stops at once", flush=True)
