"""Steps that were computed and not made."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.optim import Optimizer

from s2s_lightning.callbacks.diagnostics.non_finite import NonFinite
from s2s_lightning.callbacks.reports.throughput import is_due
from s2s_lightning.runs.trainer_queries import at_step


class SkippedSteps(Callback):
    """Counts the steps of ``16-mixed`` whose gradients overflowed, which the scaler skips to try a smaller scale.

    Logged as ``train/skipped_steps``, of the whole run so far, and said at its end. That is no error: the scale begins
    high and is raised now and then until one does (Micikevicius et al., 2018, arXiv:1710.03740). A skipped step is one
    of the run's all the same: its batch is over, and ``max_steps`` and the schedule count it. Where there is no scaler,
    what is logged are the steps that ``NonFinite`` skips, if it is to.
    """

    def __init__(self) -> None:
        self._tried = self._made = 0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if getattr(trainer.precision_plugin, "scaler", None) is not None:
            for optimizer in trainer.optimizers:
                optimizer.register_step_post_hook(self._count)

    def _count(self, *args: Any) -> None:
        """Called by the optimizer, which the scaler leaves alone when it skips a step: no device is waited for."""
        self._made += 1

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        self._tried += getattr(trainer.precision_plugin, "scaler", None) is not None

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        watching = [each for each in trainer.callbacks if isinstance(each, NonFinite) and each.action == "skip"]  # type: ignore[attr-defined]
        if (self._tried or watching) and is_due(trainer, trainer.global_step):
            number = self.skipped if self._tried else sum(each.skipped for each in watching)
            skipped = torch.tensor(float(number), dtype=torch.float64)
            pl_module.log_dict({"train/skipped_steps": skipped, **at_step(trainer)}, on_step=True, on_epoch=False)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.skipped:
            scale = trainer.precision_plugin.scaler.get_scale()  # type: ignore[attr-defined]
            pl_module.print(
                f"{self.skipped} of {self._tried} steps were skipped, as gradients overflowed in float16; "
                f"the loss scale is {scale:g} now"
            )

    @property
    def skipped(self) -> int:
        """Steps so far that were tried but not made."""
        return self._tried - self._made

    def state_dict(self) -> dict[str, Any]:
        return {"tried": self._tried, "made": self._made}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._tried, self._made = state_dict["tried"], state_dict["made"]
