"""Callbacks of trials."""

from typing import Any

from lightning.pytorch import Callback, Trainer


class Fails(Callback):
    """In the second step."""

    def on_train_batch_start(self, trainer: Trainer, *args: Any) -> None:
        if trainer.global_step == 1:
            raise RuntimeError("the trial has failed in training")
