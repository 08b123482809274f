"""Settings of the optimizer and the schedule that a resumed run has changed."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

PLATEAU = ("factor", "patience", "threshold", "threshold_mode", "cooldown", "min_lrs", "eps")
"""Settings of ``ReduceLROnPlateau``, which its state overrides."""


class NewSettings(Callback):
    """Makes the optimizer and the schedule what they are asked to be: their states, once loaded, say what they were.

    What they have gathered stays: moments, steps, how long a metric has not improved.

    Args:
        optimizer: whether its settings have changed; otherwise those of its state hold, which a finder may have chosen.
    """

    def __init__(self, optimizer: bool) -> None:
        self.optimizer = optimizer
        self._groups: list[dict[str, Any]] = []
        self._schedules: list[dict[str, Any]] = []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Before a state is loaded."""
        (optimizer,) = trainer.optimizers
        self._groups = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
        schedules = (config.scheduler for config in trainer.lr_scheduler_configs)
        self._schedules = [{name: vars(each)[name] for name in PLATEAU if name in vars(each)} for each in schedules]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        (optimizer,) = trainer.optimizers
        for group, asked in zip(optimizer.param_groups, self._groups if self.optimizer else (), strict=False):
            peak, before = asked.get("initial_lr", asked["lr"]), group.get("initial_lr", group["lr"])
            rate = group["lr"] * peak / before if before else peak
            group.update({**asked, "lr": rate})
        peaks = [group.get("initial_lr", group["lr"]) for group in optimizer.param_groups]
        for config, asked in zip(trainer.lr_scheduler_configs, self._schedules, strict=True):
            scheduler = config.scheduler
            if isinstance(scheduler, ReduceLROnPlateau):
                vars(scheduler).update(asked)
                continue
            if hasattr(scheduler, "base_lrs"):
                scheduler.base_lrs = peaks
            if isinstance(scheduler, LambdaLR):
                factors = [at(scheduler.last_epoch) for at in scheduler.lr_lambdas]
                for group, peak, factor in zip(optimizer.param_groups, peaks, factors, strict=True):
                    group["lr"] = peak * factor
            scheduler._last_lr = [group["lr"] for group in optimizer.param_groups]
