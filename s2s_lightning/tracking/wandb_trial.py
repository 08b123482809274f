"""Duties of a trial towards the W&B sweep whose agent has started it: to end well when stopped, to report a failure."""

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only

from s2s_lightning.cluster.failures import lost_a_peer
from s2s_lightning.cluster.signals import STOP, asked


def in_sweep() -> bool:
    """True if ``wandb agent`` has started this process, or the one that started it."""
    return bool(os.environ.get("WANDB_SWEEP_ID"))


class WandbTrial(Callback):
    """A trial that its sweep stops early ends as if it had reached its last step: validated, saved, exit code 0.

    By itself W&B interrupts a stopped run as Ctrl-C would. Its agent takes such ends for failures, and gives up when
    there are three of them within its first minute. Made before the run begins, for a run takes what stops it from the
    settings that it finds.
    """

    def __init__(self) -> None:
        if is_first():
            import wandb

            wandb.setup(settings=wandb.Settings(stop_fn=partial(asked.hear, STOP)))  # called by a thread of W&B's

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Say what happened while the run is there to keep it: loggers end it before Python says so."""
        if trainer.is_global_zero and isinstance(exception, Exception) and not lost_a_peer(exception):
            traceback.print_exception(exception)


@contextmanager
def failure_reported() -> Iterator[None]:
    """A trial that fails before its W&B run has begun, by a refused setting say, begins it now.

    Otherwise the sweep would show a trial without an end, and not its reason: what is written from here on, and the
    exit code, are those of the run.
    """
    try:
        yield
    except Exception:
        if in_sweep() and is_first():
            import wandb

            with suppress(wandb.Error):  # the reason is worth more than the news that W&B cannot be told
                wandb.init()
        raise


def is_first() -> bool:
    """True if this is the process that reports to W&B."""
    return not rank_zero_only.rank  # type: ignore[attr-defined]
