"""Position of a training in its data."""

from collections.abc import Callable
from typing import Any, NamedTuple

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler


class Position(NamedTuple):
    """Micro-batches are of each rank.

    Attributes:
        epoch: epochs that are over.
        batches: micro-batches of the next one that the weights have learnt from.
        ranks: processes that share the data.
        before: where they were others earlier in this epoch, how many, and how far it had got, in batches of each.
    """

    epoch: int = 0
    batches: int = 0
    ranks: int = 1
    before: tuple[tuple[int, int], ...] = ()


def position_of(trainer: Trainer) -> Position:
    """Return the position of the weights as they are: fetched batches and an unfinished window of accumulation do not
    count.

    An epoch that is at its last batch is not over: its end, a validation say, may be still to come.
    """
    epochs: Any = trainer.fit_loop.epoch_progress.current
    trained = trained_in_epoch(trainer)
    settled = trained - in_window(trainer)
    if epochs.processed < epochs.started:
        return Position(epochs.processed, settled, trainer.world_size)
    if not trained or trained >= trainer.num_training_batches:  # ``trained`` is of the epoch that is over
        return Position(epochs.processed, 0, trainer.world_size)
    return Position(epochs.processed - 1, settled, trainer.world_size)  # the end of the run has cut the epoch


def trained_in_epoch(trainer: Trainer) -> int:
    """Micro-batches of this rank since the epoch began."""
    counts: Any = trainer.fit_loop.epoch_loop.batch_progress.current
    return int(counts.processed)


def in_window(trainer: Trainer) -> int:
    """Micro-batches whose gradients wait for those of others."""
    trained = trained_in_epoch(trainer)
    return 0 if trained >= trainer.num_training_batches else trained % trainer.accumulate_grad_batches


def accumulation(trainer: Trainer) -> int | Callable[[int], int]:
    """Return the micro-batches of an optimizer step, as a function of the epoch where a callback changes them."""
    schedules = (each for each in trainer.callbacks if isinstance(each, GradientAccumulationScheduler))  # type: ignore[attr-defined]
    schedule = next(schedules, None)
    return trainer.accumulate_grad_batches if schedule is None else schedule.get_accumulate_grad_batches


def accumulated(trainer: Trainer, epoch: int) -> int:
    """Return the micro-batches of an optimizer step of this epoch."""
    found = accumulation(trainer)
    return found(epoch) if callable(found) else found
