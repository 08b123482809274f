"""A schedule that follows a metric."""

from lightning.pytorch import Callback, LightningModule, Trainer

from s2s_lightning.errors import UserError
from s2s_lightning.training.schedules import PlateauScheduler


class FollowMetric(Callback):
    """Tells the schedule what each validation of ``fit`` came to, before checkpoints are written.

    Lightning would do so at the end of an epoch alone, or stop the run where the epoch has no validation.

    Args:
        monitor: name of the metric as it is logged.
    """

    def __init__(self, monitor: str) -> None:
        self.monitor = monitor

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        metrics = trainer.callback_metrics
        for config in trainer.lr_scheduler_configs:
            if not isinstance(config.scheduler, PlateauScheduler):
                continue
            if self.monitor not in metrics:
                known = ", ".join(sorted(name for name in metrics if name.startswith("val/"))) or "nothing of val/"
                raise UserError(f"--schedule.monitor={self.monitor} is not logged; choose one of {known}")
            config.scheduler.validated(float(metrics[self.monitor]))
