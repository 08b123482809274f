"""The optimizer and the schedule of a run that goes on, as they are asked for."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from s2s_lightning.training.schedules import Scheduler


class NewSettings(Callback):
    """Makes the optimizer and the schedule what they are asked to be: their states, once loaded, say what they were.

    What they have gathered stays: moments, steps, how long a metric has not improved. A learning rate that is not the
    one with which the run would have gone on is said, before and after: some schedules know where the run ends.

    Args:
        optimizer: whether its settings have changed; otherwise those of its state hold, which a finder may have chosen.
    """

    def __init__(self, optimizer: bool) -> None:
        self.optimizer = optimizer
        self._groups: list[dict[str, Any]] = []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Before a state is loaded."""
        (optimizer,) = trainer.optimizers
        self._groups = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        (optimizer,) = trainer.optimizers
        stored = optimizer.param_groups[0]["lr"]
        for group, asked in zip(optimizer.param_groups, self._groups, strict=True):
            group.setdefault("initial_lr", asked.get("initial_lr", group["lr"]))
            if self.optimizer:
                peak, before = asked.get("initial_lr", asked["lr"]), group["initial_lr"]
                group.update({**asked, "lr": group["lr"] * peak / before if before else peak})
        for config in trainer.lr_scheduler_configs:
            scheduler = config.scheduler
            if hasattr(scheduler, "base_lrs"):
                scheduler.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
            if isinstance(scheduler, Scheduler):
                for group, rate in zip(optimizer.param_groups, scheduler.rates(), strict=True):
                    group["lr"] = rate
            scheduler._last_lr = [group["lr"] for group in optimizer.param_groups]
        if (rate := optimizer.param_groups[0]["lr"]) != stored:
            rank_zero_info(f"learning rate at step {trainer.global_step}: {stored:.3g} -> {rate:.3g}")
