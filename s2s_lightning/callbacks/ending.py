"""How a run ends: with a validation, when patience is out, or with a checkpoint when Ctrl-C is pressed."""

import signal
from types import FrameType
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping

from s2s_lightning.callbacks.checkpoints import BestAndLast
from s2s_lightning.errors import check_at_least

AGREE_EVERY = 20
"""Steps between two questions of the ranks whether one of them was interrupted: each is a synchronisation."""


def agreed(trainer: Trainer, requested: bool) -> bool:
    """Whether a rank was asked to end: each hears of it at a step of its own, but all must act at the same one."""
    if trainer.world_size > 1 and trainer.global_step % AGREE_EVERY:
        return False
    return bool(trainer.strategy.reduce_boolean_decision(requested, all=False))


class ValidateAtEnd(Callback):
    """A run that ``max_steps`` ends between two validations validates once more, so that its end is judged too."""

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        if 0 < trainer.max_steps <= trainer.global_step:
            trainer.should_stop = True  # to which the training loop's answer is a validation


class Patience(EarlyStopping):
    """Ends the run after so many validations in a row without improvement of what chooses the best checkpoint.

    Args:
        checkpoints: what knows the metric.
        patience: validations without improvement; 0 ends the run at the first one, as does 1.

    Raises:
        UserError: a negative patience.
    """

    def __init__(self, checkpoints: BestAndLast, patience: int) -> None:
        check_at_least(0, patience=patience)
        # Not strict: that the metric is missing is said by the checkpoints, with the right name.
        super().__init__(checkpoints.monitor, patience=patience, mode=checkpoints.mode, strict=False)

    @property
    def longer(self) -> int | None:
        """The patience with which an exhausted run goes on; None when it is not exhausted."""
        exhausted = self.wait_count and self.wait_count >= self.patience
        return self.wait_count + max(1, self.patience) if exhausted else None

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """All but the patience, which a resumed run may change."""
        super().load_state_dict({**state_dict, "patience": self.patience})


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
        if agreed(trainer, self._requested):
            self.checkpoints.save_last(trainer)
            raise KeyboardInterrupt

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)

    def _request(self, number: int, frame: FrameType | None) -> None:
        self._requested = True
        signal.signal(signal.SIGINT, self._previous)
        print("\nstopping after this step; Ctrl-C again stops at once", flush=True)
