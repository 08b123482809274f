"""Random numbers that a resumed run draws again."""

import random
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from s2s_lightning.model import Batch


class Draws(Callback):
    """Random draws of a training step as a function of (seed, epoch, micro-batch, rank): dropout, sampled objectives,
    all.

    So nothing of the generators has to be kept, and neither a validation nor a stop changes what comes after it. Ranks
    draw differently. The seed is that of the first rank's process when training begins; a checkpoint keeps it. It acts
    on the generators of torch, on every device, of numpy and of Python, as a user's own part may draw from any.
    """

    def __init__(self) -> None:
        self._seed: int | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._seed is None:
            self._seed = int(trainer.strategy.broadcast(torch.initial_seed()))

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        assert self._seed is not None
        place = (self._seed, trainer.current_epoch, batch_idx, trainer.global_rank)
        (mixed,) = np.random.SeedSequence(place).generate_state(1, np.uint64).tolist()
        torch.manual_seed(mixed)
        np.random.seed(mixed % 2**32)
        random.seed(mixed)

    def state_dict(self) -> dict[str, Any]:
        return {"seed": self._seed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._seed = state_dict["seed"]
