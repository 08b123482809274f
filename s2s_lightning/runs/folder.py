"""A folder for each run."""

import os
from contextlib import suppress
from datetime import datetime
from itertools import count
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only

from s2s_lightning.errors import make_folder, no_folder

TIME = "%Y-%m-%d_%H-%M-%S"
"""The name of a folder that the user has not named."""

VARIABLE = "S2S_LIGHTNING_RUN"
"""Environment variable by which the first process tells the folder to those that it starts, after its own number."""

_new: set[str] = set()
"""The folders that this process has made for itself, and not at a place that the user has named."""


def new_run_folder(parent: Path, command: str) -> Path:
    """``parent/<time>``, with the command unless it is fit: new, made by the first process, told to those it starts.

    Where something else has started the processes (torchrun, SLURM), the others' folder has a name but is not made: the
    first process alone writes.
    """
    time = datetime.now().strftime(TIME)
    folder = parent / (time if command == "fit" else f"{time}_{command}")
    if rank_zero_only.rank:  # type: ignore[attr-defined]
        return told_folder() or folder
    folder = _made(folder)
    _tell(folder)
    _new.add(str(folder))
    return folder


def is_time(name: str) -> bool:
    """True if it is the name of a folder that the user has not named, which a number or a command may follow."""
    try:
        return bool(datetime.strptime(name[:19], TIME))
    except ValueError:
        return False


def told_folder() -> Path | None:
    """Return the folder that the first process has told this one, which it has started; None if it is left of another
    run.
    """
    teller, _, folder = os.environ.get(VARIABLE, "").partition(":")
    started = rank_zero_only.rank and teller == str(os.getppid())  # type: ignore[attr-defined]
    return Path(folder) if started else None


def enter(folder: Path) -> Path:
    """Make a folder that the user has named, unless it is there, and tell it to the processes started from here."""
    if not rank_zero_only.rank:  # type: ignore[attr-defined]
        _tell(make_folder(folder))
    return folder


def become_latest(folder: Path) -> None:
    """Point ``latest`` beside the run's folder to it, where the file system has links.

    A training does so when it has a checkpoint: ``latest`` always has something to go on with. A folder that is not of
    this run is left alone, and so is one that the user has put where no ``latest`` stands: what is beside it is not
    ours.
    """
    own, latest = os.environ.get(VARIABLE, "").partition(":")[2], folder.with_name("latest")
    if rank_zero_only.rank or not own or Path(own).resolve() != folder.resolve():  # type: ignore[attr-defined]
        return
    if latest.is_symlink() or own in _new:
        _point(latest, folder)


def _tell(folder: Path) -> None:
    os.environ[VARIABLE] = f"{os.getpid()}:{folder}"


def _made(folder: Path) -> Path:
    """Make it, or the first of its name with -2, -3, ... that is not there: two runs may start in one second."""
    make_folder(folder.parent)
    for number in count(1):
        candidate = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
        try:
            candidate.mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            raise no_folder(candidate, error) from error
        return candidate
    raise AssertionError


def _point(link: Path, folder: Path) -> None:
    """Make or move a relative link, in one step: two runs may start at once."""
    temporary = link.with_name(f".{folder.name}")
    with suppress(OSError):
        temporary.symlink_to(folder.name)
        temporary.replace(link)
