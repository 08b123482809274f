"""Files of a run that grow line by line, and are cut back to where a resumed run goes on from."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import CSVLogger

from s2s_lightning.runs.trainer_queries import run_folder
from s2s_lightning.runs.whole_files import TEMPORARY

LINES = "s2s_lightning_lines"
"""Key of a checkpoint -> name of each growing file -> its lines when the checkpoint was made."""

METRICS = "metrics.csv"
"""Name of the file of Lightning's CSV logger in a run's folder."""


def growing_files(callbacks: Iterable[Callback]) -> list[str]:
    """Return the names of a run's files that grow line by line.

    A callback lists those that it writes in its attribute ``growing_files``, a user's own callback as well.
    """
    return [METRICS, *(name for each in callbacks for name in getattr(each, "growing_files", ()))]


def lines_of(trainer: Trainer) -> dict[str, int]:
    """The whole lines of each file, once the loggers have written what they still held; 0 of one that is not there."""
    if not trainer.is_global_zero:
        return {}
    for logger in trainer.loggers:
        if isinstance(logger, CSVLogger):
            logger.save()
    names = growing_files(trainer.callbacks)  # type: ignore[attr-defined]
    return {name: _content(run_folder(trainer) / name).count(b"\n") for name in names}


def cut_back(folder: Path, lines: Mapping[str, int]) -> None:
    """Remove the lines that were written after the checkpoint, for they will be written again.

    A kill leaves the old file or the new.
    """
    for name, count in lines.items():
        whole = _content(folder / name).split(b"\n")[:-1]  # what follows the last end is a line that was cut
        kept, temporary = whole[:count], folder / f"{name}{TEMPORARY}"
        temporary.write_bytes(b"".join(line + b"\n" for line in kept))
        temporary.replace(folder / name)
        if not kept:
            (folder / name).unlink()


def set_aside(folder: Path, names: Iterable[str]) -> None:
    """Rename files that were written by a start of which there is no checkpoint."""
    for path in (folder / name for name in names):
        if path.is_file():
            path.replace(path.with_name(f"before_{path.name}"))


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""
