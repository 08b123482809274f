"""Files of a run that grow line by line, and are cut back to where a resumed run goes on from."""

from collections.abc import Mapping
from pathlib import Path

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger

from s2s_lightning.runs.trainer_queries import run_folder
from s2s_lightning.runs.whole_files import TEMPORARY

LINES = "s2s_lightning_lines"
"""Key of a checkpoint -> name of each growing file -> its lines when the checkpoint was made."""

GROWING = (
    "metrics.csv",
    "samples.jsonl",
    "attention.csv",
    "alignment.csv",
    "gradient_flow.csv",
    "update_ratio.csv",
)


def lines_of(trainer: Trainer) -> dict[str, int]:
    """The whole lines of each file, once the loggers have written what they still held; 0 of one that is not there."""
    if not trainer.is_global_zero:
        return {}
    for logger in trainer.loggers:
        if isinstance(logger, CSVLogger):
            logger.save()
    return {name: _content(run_folder(trainer) / name).count(b"\n") for name in GROWING}


def cut_back(folder: Path, lines: Mapping[str, int]) -> None:
    """What was written after the checkpoint goes, for it will be written again.

    A kill leaves the old file or the new.
    """
    for name, count in lines.items():
        whole = _content(folder / name).split(b"\n")[:-1]  # what follows the last end is a line that was cut
        kept, temporary = whole[:count], folder / f"{name}{TEMPORARY}"
        temporary.write_bytes(b"".join(line + b"\n" for line in kept))
        temporary.replace(folder / name)
        if not kept:
            (folder / name).unlink()


def set_aside(folder: Path) -> None:
    """What was written by a start of which there is no checkpoint gets a name of its own."""
    for path in (folder / name for name in GROWING):
        if path.is_file():
            path.replace(path.with_name(f"before_{path.name}"))


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""
