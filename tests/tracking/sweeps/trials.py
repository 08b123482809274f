"""Callbacks of trials."""

import time
from typing import Any

from lightning.pytorch import Callback, Trainer


class Fails(Callback):
    """In the second step."""

    def on_train_batch_start(self, trainer: Trainer, *args: Any) -> None:
        if trainer.global_step == 1:
            raise RuntimeError("the trial has failed in training")


class Slow(Callback):
    """Leaves the machine to others while a test waits for W&B, which asks a server every 15 seconds."""

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        time.sleep(0.1)
