"""Pictures and tables of a run, handed to whatever loggers it has.

They are files of the run folder first; a logger that shows no pictures, such as CSVLogger, costs nothing.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer

Cell = str | int | float | bool | None
Rows = Sequence[Sequence[Cell]]


def log_picture(trainer: Trainer, name: str, path: Path) -> None:
    """Show a PNG file at the trainer's step; on rank 0 alone.

    Args:
        name: what it is called there, e.g. ``attention``; no slashes, which W&B makes folders of.
        path: of the file.
    """
    _show(trainer, PICTURES, name, path)


def log_table(trainer: Trainer, name: str, columns: Sequence[str], rows: Rows) -> None:
    """Show a table at the trainer's step; on rank 0 alone."""
    _show(trainer, TABLES, name, columns, rows)


def _show(trainer: Trainer, ways: dict[str, Callable[..., None]], name: str, *content: Any) -> None:
    """Show a picture in each logger whose class, or the nearest of its bases, has a way."""
    for logger in trainer.loggers:
        ours = (ways[base.__name__] for base in type(logger).__mro__ if base.__name__ in ways)
        if show := next(ours, None):
            show(logger, trainer.global_step, name, *content)


def _wandb_picture(logger: Any, step: int, name: str, path: Path) -> None:
    # The file, which W&B copies: of an array of floats it would take the numbers for grey values up to 255.
    logger.log_image(name, [str(path)], step=step)


def _wandb_table(logger: Any, step: int, name: str, columns: Sequence[str], rows: Rows) -> None:
    import wandb

    data = [list(row) for row in rows]
    logger.log_metrics({name: wandb.Table(list(columns), data, allow_mixed_types=True)}, step)


def _tensorboard_picture(logger: Any, step: int, name: str, path: Path) -> None:
    logger.experiment.add_image(name, _pixels(path), step, dataformats="HWC")


def _tensorboard_table(logger: Any, step: int, name: str, columns: Sequence[str], rows: Rows) -> None:
    logger.experiment.add_text(name, markdown(columns, rows), step)


def _mlflow_picture(logger: Any, step: int, name: str, path: Path) -> None:
    logger.experiment.log_image(logger.run_id, _pixels(path), key=name, step=step)


def _mlflow_table(logger: Any, step: int, name: str, columns: Sequence[str], rows: Rows) -> None:
    """MLflow appends rows to those that are there, so each says its step."""
    table = {column: [row[i] for row in rows] for i, column in enumerate(columns)}
    logger.experiment.log_table(logger.run_id, {"step": [step] * len(rows), **table}, f"{name}.json")


PICTURES: dict[str, Callable[..., None]] = {
    "WandbLogger": _wandb_picture,
    "TensorBoardLogger": _tensorboard_picture,
    "MLFlowLogger": _mlflow_picture,
}
TABLES: dict[str, Callable[..., None]] = {
    "WandbLogger": _wandb_table,
    "TensorBoardLogger": _tensorboard_table,
    "MLFlowLogger": _mlflow_table,
}
"""Class of a logger -> (logger, step, name, content) -> None. By name, so that no logger is imported for it."""


def markdown(columns: Sequence[str], rows: Rows) -> str:
    """A table in Markdown, whose cells no text breaks out of."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(map(cell, line))} |" for line in lines)


def cell(value: Cell) -> str:
    """A cell of a table in Markdown, on one line."""
    return " ".join(("" if value is None else str(value)).replace("|", r"\|").splitlines())


def _pixels(path: Path) -> Any:
    """(height, width, 3) in 0 to 255."""
    import numpy as np
    from PIL import Image

    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))
