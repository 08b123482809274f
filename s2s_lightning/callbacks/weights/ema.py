"""Averages of the weights over training."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch.optim.swa_utils import get_ema_multi_avg_fn

from s2s_lightning.errors import check_below_one

NO_WEIGHTS = ("_trainer", "objective", "decoding", "optimizer", "schedule")
"""Attributes of a module that an average of it does without."""


class EMA(WeightAveraging):
    """Exponential moving average of the weights: average = d * average + (1 - d) * weights, after each step.

    d = min(decay, (1 + t) / (10 + t)) at step t, so that an early average is not that of the initial weights.
    Validation, its pictures and the weights of every checkpoint are the average's (``generate`` and ``test`` use it);
    training goes on with the weights themselves, which a checkpoint holds too, for resuming. When the run is over the
    module has the average. Sharded models are not averaged.

    Args:
        decay: weight of the past; the average reaches back about 1 / (1 - decay) steps.

    Raises:
        UserError: a decay that is not from 0 to below 1.
    """

    needs_whole_weights = True

    def __init__(self, decay: float = 0.999) -> None:
        check_below_one(decay=decay)
        super().__init__(multi_avg_fn=self._average)
        self.decay = decay
        self._step = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Copies the network alone: what else the module holds knows the data, or a trainer that cannot be copied."""
        held = {name: vars(pl_module).pop(name) for name in NO_WEIGHTS if name in vars(pl_module)}
        super().setup(trainer, pl_module, stage)
        vars(pl_module).update(held)
        if self._average_model is not None:  # a copy of weights that ``64-true`` is yet to convert
            trainer.precision_plugin.convert_module(self._average_model)

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """After each optimizer step, whose number decides how far the average looks back."""
        if step_idx is None:
            return False
        self._step = step_idx
        return True

    def _average(self, averages: Any, weights: Any, count: Any) -> None:
        decay = min(self.decay, (1 + self._step) / (10 + self._step))
        get_ema_multi_avg_fn(decay)(averages, weights, count)  # type: ignore[no-untyped-call]

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the average for now: pictures of the validation come after this hook, and belong to the average."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_validation_epoch_end(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the average for now: the last checkpoint, which holds both, may still be written."""

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_end(trainer, pl_module)
