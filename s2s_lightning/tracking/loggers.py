"""The loggers of a run of the command line."""

import os
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger

from s2s_lightning.tracking.identity import Identity
from s2s_lightning.tracking.metrics_file import MetricsFile
from s2s_lightning.tracking.wandb_logger import Wandb
from s2s_lightning.tracking.wandb_trial import in_sweep


def loggers(chosen: Any, folder: Path, command: str, goes_on_with: Identity | None = None) -> list[Logger] | bool:
    """metrics.csv, beside the loggers that the user has chosen; none at all where they are switched off.

    Where nothing is chosen, ``fit`` is logged to W&B, and so is each trial of a sweep; any other evaluation is not, for
    its checkpoint has a run already.

    Args:
        chosen: the Trainer's ``logger``.
        folder: of the run.
        command: of the command line.
        goes_on_with: the W&B run that a resumed training belongs to.
    """
    if chosen is False:
        return False
    if chosen in (None, True):
        chosen = Wandb() if command == "fit" or in_sweep() else []
    others = list(chosen) if isinstance(chosen, list | tuple) else [chosen]
    if os.environ.get("WANDB_MODE") == "disabled":
        others = [logger for logger in others if not isinstance(logger, Wandb)]
    for logger in others:
        if isinstance(logger, Wandb):
            if goes_on_with is not None:
                logger.go_on_with(goes_on_with)
            logger.belong_to(folder, command)
    return [MetricsFile(folder), *others]
