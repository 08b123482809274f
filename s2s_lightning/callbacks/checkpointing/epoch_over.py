"""Callbacks that follow a metric over epochs, in the state that they will have when this epoch is over."""

from collections.abc import Iterator
from contextlib import contextmanager

from lightning.pytorch import LightningModule, Trainer


@contextmanager
def epoch_over(trainer: Trainer, pl_module: LightningModule) -> Iterator[None]:
    """Let EarlyStopping count the epoch while the context lasts, after the epoch's last validation.

    Lightning does that in ``on_train_epoch_end``, and a run resumed from the validation does not any more: it has no
    metrics. So a checkpoint made then must hold what it comes to. Afterwards all is as before, for Lightning to do it.
    Between two validations of an epoch nothing is due.
    """
    if not trainer.is_last_batch:
        yield
        return
    asked, stoppers = trainer.should_stop, [(c, c.state_dict()) for c in trainer.early_stopping_callbacks]
    try:
        for stopper, _ in stoppers:
            stopper.on_train_epoch_end(trainer, pl_module)
        yield
    finally:
        trainer.should_stop = asked
        for stopper, state in stoppers:
            stopper.load_state_dict(state)
