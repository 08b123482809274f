"""State of Lightning's loops in a checkpoint, so that they continue from the position of its weights.

Lightning's own state depends on the hook in which the checkpoint is made. From some it skips a validation that was due,
repeats one, leaves an epoch out, or begins one in its middle (2.6).
"""

from typing import Any

from lightning.pytorch import Trainer

from s2s_lightning.data.position import in_window, position_of, trained_in_epoch

Counts = dict[str, int]


def batches_seen(trainer: Trainer) -> int:
    """Micro-batches of this rank since the run began."""
    counts: Any = trainer.fit_loop.epoch_loop.batch_progress.total
    return int(counts.processed)


def ends_here(trainer: Trainer) -> bool:
    """True if a micro-batch is over for Lightning but for ``on_train_batch_end``, which tells the loggers."""
    return trainer.fit_loop.epoch_loop.batch_progress.current.completed < trained_in_epoch(trainer)


def settle(loops: dict[str, Any], trainer: Trainer, validated: bool) -> None:
    """Rewrite the state of the loops: between two optimizer steps, the validation of this place done or all to do.

    Args:
        loops: of the checkpoint.
        trainer: whose state it is.
        validated: whether a validation has come after the last micro-batch.
    """
    fit = loops["fit_loop"]
    position, loose = position_of(trainer), in_window(trainer)
    batches = fit["epoch_loop.batch_progress"]
    _set(batches["total"], batches["total"]["processed"] - loose)
    _set(batches["current"], position.batches)
    batches["is_last_batch"] = 0 < position.batches == trainer.num_training_batches
    earlier = fit["epoch_progress"]["total"]["processed"] - fit["epoch_progress"]["current"]["processed"]
    for name, before in (("total", earlier), ("current", 0)):
        _set(fit["epoch_progress"][name], before + position.epoch, begun=position.batches > 0)
    # A validation that was left before its first batch, Lightning makes when it resumes, if it is due at all.
    due = position.batches > 0 and not (validated or loose)
    evaluation = fit["epoch_loop.val_loop.batch_progress"]
    _set(evaluation["total"], evaluation["total"]["completed"], begun=due)
    _set(evaluation["current"], 0 if due else evaluation["current"]["completed"], begun=due)


def move(loops: dict[str, Any], batches: int) -> int:
    """Move to another place in the same epoch; return by how many micro-batches."""
    progress = loops["fit_loop"]["epoch_loop.batch_progress"]
    further = batches - progress["current"]["processed"]
    for counts in (progress["total"], progress["current"]):
        _set(counts, counts["processed"] + further)
    return int(further)


def _set(counts: Counts, done: int, begun: bool = False) -> None:
    """Set how many are done; one more may have begun."""
    counts.update(ready=done + begun, started=done + begun, processed=done, completed=done)
