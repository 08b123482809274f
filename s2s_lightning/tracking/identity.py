"""Identity of the W&B run that a training continues."""

import os
from pathlib import Path
from typing import Any, NamedTuple

CHECKPOINT_KEY = "s2s_lightning_wandb"
"""Key of a checkpoint -> the ``Identity`` of the run that it was written in, as a mapping."""


FOLDER_KEY = "s2s_lightning_folder"
"""Key of a checkpoint -> the run's folder in which it was written."""


class Identity(NamedTuple):
    """Address of a W&B run; ``entity`` is None where the key decides."""

    id: str
    project: str
    entity: str | None = None


def identity_of(checkpoint: dict[str, Any]) -> Identity | None:
    """The run that a checkpoint was written in, unless the environment says otherwise.

    WANDB_RUN_ID names another, WANDB_RESUME=never asks for a new one, and each trial of a sweep is a run of its own
    whatever checkpoint it begins with.
    """
    otherwise = os.environ.get("WANDB_RUN_ID") or os.environ.get("WANDB_SWEEP_ID")
    if otherwise or os.environ.get("WANDB_RESUME") == "never" or CHECKPOINT_KEY not in checkpoint:
        return None
    return Identity(**checkpoint[CHECKPOINT_KEY])


def copied_from(checkpoint: dict[str, Any], folder: Path) -> Path | None:
    """Return the folder of which this one is a copy; None for one that was moved, or is where it was.

    The folder in which the checkpoint was written is still there if it was copied.
    """
    written = checkpoint.get(FOLDER_KEY)
    original = Path(written) if isinstance(written, str) else folder
    return original if original.resolve() != folder.resolve() and (original / "checkpoints").is_dir() else None
