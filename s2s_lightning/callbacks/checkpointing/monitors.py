"""Metrics that something follows: a name that nothing logs is refused before training, or after what was trained."""

from collections.abc import Iterable, Iterator
from fnmatch import fnmatch

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from s2s_lightning.callbacks.checkpointing.checkpoints import BestAndLast
from s2s_lightning.callbacks.reports.evaluation import Evaluation
from s2s_lightning.errors import UserError, closest, did_you_mean

ALWAYS = ("train/*", "lr-*", "step", "epoch", "gradient_flow/*", "val/attention_*", "val/alignment_error_rate")
"""Names that callbacks of ours or of Lightning log, or may log, besides the evaluation."""

Followed = tuple[str, str]
"""An option, and the name of the metric that it follows."""


class Monitors(Callback):
    """Refuses a metric that is followed and never logged, with the nearest name and all that there are.

    Where all that logs is known, that is before training. A user's own class may log any name: the first validation
    tells, and ``last.ckpt`` is written before the refusal.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        validates = trainer.limit_val_batches != 0 and _has_validation(trainer)
        names = known_names(trainer, pl_module)
        for option, name in followed(trainer, pl_module):
            if not validates and name.startswith("val/") and option != "--checkpoint.monitor":
                raise UserError(
                    f"{option}={name} needs a validation, and there is none: give a validation split and "
                    "limit_val_batches above 0, or follow train/loss"
                )
            if validates and names is not None and not any(fnmatch(name, known) for known in (*names, *ALWAYS)):
                raise UserError(not_logged(option, name, names))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        logged = trainer.callback_metrics
        for option, name in followed(trainer, pl_module):
            if name not in logged and not name.startswith("test/"):
                for saver in (each for each in trainer.callbacks if isinstance(each, BestAndLast)):  # type: ignore[attr-defined]
                    saver.save_last(trainer)
                raise UserError(not_logged(option, name, logged))


def followed(trainer: Trainer, pl_module: LightningModule) -> Iterator[Followed]:
    """Yield the metrics that the callbacks and the schedule of a training follow.

    A callback yields its own from a method ``followed``, a user's own callback as well.
    """
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if hasattr(callback, "followed"):
            yield from callback.followed()
        elif isinstance(callback, ModelCheckpoint) or (isinstance(callback, EarlyStopping) and callback.strict):
            yield f"the monitor of {type(callback).__name__}", callback.monitor or "epoch"
    schedule = getattr(pl_module, "schedule", None)
    if monitor := getattr(schedule, "monitor", None):
        yield "--schedule.monitor", monitor


def known_names(trainer: Trainer, pl_module: LightningModule) -> list[str] | None:
    """The names that evaluations log; None where a class of the user's own may log others."""
    evaluations = [each for each in trainer.callbacks if isinstance(each, Evaluation)]  # type: ignore[attr-defined]
    metrics = [metric for each in evaluations for metric in each.metrics]
    parts = (pl_module, getattr(pl_module, "objective", pl_module), *metrics, *trainer.callbacks)  # type: ignore[attr-defined]
    if not evaluations or not all(type(part).__module__.startswith(("s2s_lightning.", "lightning.")) for part in parts):
        return None
    names = [name for each in evaluations for name in each.names()]
    return [f"{split}/{name}" for split in ("val", "test") for name in names]


def not_logged(option: str, name: str, names: Iterable[str]) -> str:
    """The message for a metric that is not logged."""
    own = sorted(each for each in names if each.split("/")[0] not in ("train", "step", "epoch", "test"))
    if not (best := did_you_mean(closest(name, own))):
        return f"{option}={name} is not logged; choose one of {', '.join(own)}"
    return f"{option}={name} is not logged{best} Logged are {', '.join(own)}"


def _has_validation(trainer: Trainer) -> bool:
    """True unless the data module knows that it has no validation split."""
    has = getattr(trainer.datamodule, "has", None)  # type: ignore[attr-defined]
    return has is None or bool(has("val"))
