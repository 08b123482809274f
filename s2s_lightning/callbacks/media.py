"""Pictures and tables of a run, handed to whatever loggers it has.

They are files of the run folder first; a logger that shows no pictures, such as CSVLogger, costs nothing.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer

Cell = str | int | float | bool | None


def log_picture(trainer: Trainer, name: str, path: Path) -> None:
    """Show a PNG file at the trainer's step; on rank 0 alone.

    Args:
        name: what it is called there, e.g. ``attention``; no slashes, which W&B makes folders of.
        path: of the file.
    """
    for logger in trainer.loggers:
        show = PICTURES.get(type(logger).__name__)
        if show is not None:
            show(logger, name, path, trainer.global_step)


def log_table(trainer: Trainer, name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """Show a table at the trainer's step; on rank 0 alone."""
    for logger in trainer.loggers:
        show = TABLES.get(type(logger).__name__)
        if show is not None:
            show(logger, name, columns, rows, trainer.global_step)


PICTURES: dict[str, Any] = {}
TABLES: dict[str, Any] = {}
