"""What a run leaves behind, and what to type next."""

import os
import shlex
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from s2s_lightning.callbacks.run import Keeper, keeper, run_folder, texts

PROGRAM = "python -m s2s_lightning"


class NextSteps(Callback):
    """Prints, at the end of ``fit``, the best checkpoint and the commands that use it."""

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        checkpoint = keeper(trainer)
        if trainer.is_global_zero and checkpoint is not None and checkpoint.best_model_path:
            pl_module.print("\n".join(["", *result(trainer, checkpoint), *commands(trainer, checkpoint)]))


def result(trainer: Trainer, checkpoint: Keeper) -> list[str]:
    """Where things are."""
    score = checkpoint.best_model_score
    judged = "" if score is None else f"  ({checkpoint.monitor} {score:.4g})"
    folder, best = _short(run_folder(trainer)), _short(Path(checkpoint.best_model_path))
    return [f"run folder       {folder}", f"best checkpoint  {best}{judged}"]


def commands(trainer: Trainer, checkpoint: Keeper) -> list[str]:
    """What to type next: each is complete, for a checkpoint carries its configuration."""
    best, last = (_short(Path(path)) for path in (checkpoint.best_model_path, checkpoint.last_model_path))
    example = shlex.quote(texts(trainer).sources("val", [0])[0])
    lines = [f"echo {example} | {PROGRAM} generate {best}", f"{PROGRAM} test --ckpt_path {best}"]
    if checkpoint.last_model_path:
        lines.append(" ".join([f"{PROGRAM} fit --ckpt_path {last}", *further(trainer)]))
    return ["to generate, test, or train on:", *(f"  {line}" for line in lines)]


def further(trainer: Trainer) -> list[str]:
    """Twice the limit that the run has reached: resumed under the same one, it would end at once."""
    limits = {
        "max_steps": (trainer.max_steps, trainer.global_step),
        "max_epochs": (trainer.max_epochs, trainer.current_epoch),
    }
    return [
        f"--trainer.{name} {2 * limit}"
        for name, (limit, reached) in limits.items()
        if limit not in (None, -1) and reached >= limit
    ]


def _short(path: Path) -> str:
    """The shorter of the absolute path and the one from here, quoted for the shell."""
    return shlex.quote(min(str(path.absolute()), os.path.relpath(path), key=len))
