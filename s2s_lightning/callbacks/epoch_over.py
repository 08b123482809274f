"""What follows a metric over epochs, as it will stand when this epoch is over."""

from collections.abc import Iterator
from contextlib import contextmanager

from lightning.pytorch import LightningModule, Trainer
from torch.optim.lr_scheduler import ReduceLROnPlateau


@contextmanager
def epoch_over(trainer: Trainer, pl_module: LightningModule) -> Iterator[None]:
    """Within, after an epoch's last validation, EarlyStopping has counted it and Plateau has made its step.

    Lightning does the first in ``on_train_epoch_end`` and the second after all hooks of the epoch, and a run resumed
    from the validation does neither any more: it has no metrics. So a checkpoint made then must hold what they come to.
    Afterwards all is as before, for Lightning to do it. Between two validations of an epoch nothing is due.
    """
    if not trainer.is_last_batch:
        yield
        return
    asked, stoppers = trainer.should_stop, [(c, c.state_dict()) for c in trainer.early_stopping_callbacks]
    due = _due(trainer)
    plateaus = [(s, s.state_dict(), [group["lr"] for group in s.optimizer.param_groups]) for s, _ in due]
    try:
        for stopper, _ in stoppers:
            stopper.on_train_epoch_end(trainer, pl_module)
        for scheduler, value in due:
            scheduler.step(value)
        yield
    finally:
        trainer.should_stop = asked
        for stopper, state in stoppers:
            stopper.load_state_dict(state)
        for scheduler, state, rates in plateaus:
            scheduler.load_state_dict(state)
            for group, rate in zip(scheduler.optimizer.param_groups, rates, strict=True):
                group["lr"] = rate


def _due(trainer: Trainer) -> list[tuple[ReduceLROnPlateau, float]]:
    """The schedulers that this epoch's end will step, each with its metric."""
    metrics, epoch = trainer.callback_metrics, trainer.current_epoch + 1
    return [
        (config.scheduler, metrics[config.monitor].item())
        for config in trainer.lr_scheduler_configs
        if isinstance(config.scheduler, ReduceLROnPlateau) and config.interval == "epoch"
        if epoch % config.frequency == 0 and config.monitor in metrics
    ]
