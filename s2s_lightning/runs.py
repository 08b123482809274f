"""A folder for each run."""

import os
from contextlib import suppress
from datetime import datetime
from itertools import count
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only

VARIABLE = "S2S_LIGHTNING_RUN"
"""Environment variable by which the first process tells the folder to those that it starts."""


def new_run_folder(parent: Path, command: str) -> Path:
    """``parent/<time>``, with the command unless it is fit: new, made by the first process, told to those it starts.

    Where something else has started the processes (torchrun, SLURM), the others' folder has a name but is not made: the
    first process alone writes.
    """
    time = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    folder = parent / (time if command == "fit" else f"{time}_{command}")
    if rank_zero_only.rank:  # type: ignore[attr-defined]
        return Path(os.environ.get(VARIABLE, folder))
    folder = _made(folder)
    os.environ[VARIABLE] = str(folder)
    return folder


def become_latest(folder: Path) -> None:
    """Point ``latest`` beside the run's folder to it, where the file system has links.

    A training does so when it has a checkpoint: ``latest`` always has something to go on with. A folder that
    ``new_run_folder`` has not made is left alone, for what stands beside it is not ours.
    """
    own = os.environ.get(VARIABLE)
    if not rank_zero_only.rank and own and Path(own).resolve() == folder.resolve():  # type: ignore[attr-defined]
        _point(folder.with_name("latest"), folder)


def _made(folder: Path) -> Path:
    """Make it, or the first of its name with -2, -3, ... that is not there: two runs may start in one second."""
    for number in count(1):
        candidate = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
        try:
            candidate.mkdir(parents=True)
        except FileExistsError:
            continue
        return candidate
    raise AssertionError


def _point(link: Path, folder: Path) -> None:
    """Make or move a relative link, in one step: two runs may start at once."""
    temporary = link.with_name(f".{folder.name}")
    with suppress(OSError):
        temporary.symlink_to(folder.name)
        temporary.replace(link)
