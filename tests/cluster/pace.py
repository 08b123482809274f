"""A training of a pace of its own, so that a test can do something to it meanwhile."""

import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer


class Pace(Callback):
    """Sleeps in each step and each batch of validation, and writes the step into a file, that of its rank.

    Args:
        step: seconds a training step.
        validation: seconds a batch of validation.
        behind: seconds more for each rank, from the second on, so that it is behind the first.
    """

    def __init__(self, step: float = 0.0, validation: float = 0.0, behind: float = 0.0) -> None:
        self.step, self.validation, self.behind = step, validation, behind

    def on_train_batch_start(self, trainer: Trainer, *args: Any) -> None:
        self._note(trainer, f"step {trainer.global_step}")
        time.sleep(self.step + self.behind * trainer.global_rank)

    def on_validation_batch_start(self, trainer: Trainer, *args: Any) -> None:
        self._note(trainer, f"validation {trainer.global_step}")
        time.sleep(self.validation + self.behind * trainer.global_rank)

    def _note(self, trainer: Trainer, text: str) -> None:
        Path(trainer.default_root_dir, f"rank{trainer.global_rank}").write_text(text)
