"""Files that a run leaves, and commands to type next."""

import os
import shlex
from pathlib import Path
from typing import NamedTuple

from lightning.pytorch import Callback, LightningModule, Trainer

from s2s_lightning import PROGRAM
from s2s_lightning.callbacks.checkpointing.end_of_run import Patience
from s2s_lightning.runs.trainer_queries import Keeper, keeper, run_folder, texts
from s2s_lightning.training.schedules import EndOfRun


class NextSteps(Callback):
    """Prints, at the end of ``fit``, where things are and the commands that use them."""

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            kept = Kept.by(keeper(trainer))
            pl_module.print("\n".join(["", *result(trainer, kept), *commands(trainer, kept)]))


class Kept(NamedTuple):
    """The checkpoints that are there, and what the best one is judged by."""

    best: str | None
    last: str | None
    judged: str

    @classmethod
    def by(cls, checkpoint: Keeper | None) -> "Kept":
        if checkpoint is None:
            return cls(None, None, "")
        score = checkpoint.best_model_score
        judged = "" if score is None else f"  ({checkpoint.monitor} {score:.4g})"
        return cls(_existing(checkpoint.best_model_path), _existing(checkpoint.last_model_path), judged)


def result(trainer: Trainer, kept: Kept) -> list[str]:
    """Return lines that say where things are."""
    lines = [f"run folder       {_short(run_folder(trainer))}"]
    if kept.best:
        lines.append(f"best checkpoint  {kept.best}{kept.judged}")
    elif kept.last:
        lines.append(f"last checkpoint  {kept.last}")
    return lines


def commands(trainer: Trainer, kept: Kept) -> list[str]:
    """Return commands to type next: a checkpoint carries its configuration. Nothing without a checkpoint."""
    chosen = kept.best or kept.last
    if chosen is None:
        return []
    lines = {"generate": generation(trainer, chosen)}
    if texts(trainer).has("test"):
        lines["test"] = f"{PROGRAM} test --ckpt_path {chosen}"
    more = further(trainer)
    if kept.last and more:
        words = [f"{PROGRAM} fit --resume {_short(run_folder(trainer))}", *more, *risen(trainer)]
        lines["train on"] = " ".join(words)
    return [f"to {' or '.join(lines)}:", *(f"  {line}" for line in lines.values())]


def generation(trainer: Trainer, checkpoint: str) -> str:
    """The command for a validation sentence, or for a file where there is none."""
    if not texts(trainer).has("val"):
        return f"{PROGRAM} generate {checkpoint} FILE"
    example = shlex.quote(texts(trainer).sources("val", [0])[0])
    return f"echo {example} | {PROGRAM} generate {checkpoint}"


def further(trainer: Trainer) -> list[str]:
    """Return options with which a resumed run continues: twice the limit that this one has reached, or more patience.

    Nothing when something else has ended it (a loss that is no number, say), which would end it again.
    """
    limits = {
        "max_steps": (trainer.max_steps, trainer.global_step),
        "max_epochs": (trainer.max_epochs, trainer.current_epoch),
    }
    raised = [
        f"--trainer.{name} {2 * limit}"
        for name, (limit, reached) in limits.items()
        if limit not in (None, -1) and reached >= limit
    ]
    patience = [callback.longer for callback in trainer.callbacks if isinstance(callback, Patience)]  # type: ignore[attr-defined]
    return raised + [f"--patience {longer}" for longer in patience if longer is not None]


def risen(trainer: Trainer) -> list[str]:
    """A comment for the shell: the learning rate with which that run begins, where its end decides about it."""
    schedule = getattr(trainer.lightning_module, "schedule", None)
    if not isinstance(schedule, EndOfRun) or not trainer.optimizers:
        return []
    group, steps, total = trainer.optimizers[0].param_groups[0], trainer.global_step, trainer.estimated_stepping_batches
    ends = [2 * total] if trainer.max_epochs in (None, -1) or trainer.max_steps == -1 else [2 * total, 2 * steps]
    rate = group.get("initial_lr", group["lr"]) * schedule.factor(steps, int(min(ends)))
    name = type(schedule).__name__
    return [f"  # {name} ends with the run: learning rate {group['lr']:.3g} -> {rate:.3g}"]


def _existing(path: str) -> str | None:
    return _short(Path(path)) if path and Path(path).is_file() else None


def _short(path: Path) -> str:
    """The shorter of the absolute path and the one from here, quoted for the shell."""
    return shlex.quote(min(str(path.absolute()), os.path.relpath(path), key=len))
