"""The lock of a run's folder: one process at a time writes it."""

import fcntl
import json
import os
import socket
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_info, rank_zero_only

from s2s_lightning.errors import UserError

FILE = ".lock"

_held: dict[Path, int] = {}
"""Folder -> the open file whose lock this process holds."""


def is_first() -> bool:
    """True in the first process of a run, which alone locks: also on machines that are told their own number alone."""
    return not rank_zero_only.rank and os.environ.get("NODE_RANK", "0") == "0"  # type: ignore[attr-defined]


def hold(folder: Path, seconds: float) -> None:
    """Make the folder and lock it, in the first process of a run, until ``release`` or the end of the process.

    The lock is the kernel's (``lockf``): it ends with its process however that dies, and no child inherits it. Network
    file systems that pass such locks on to their server protect against other machines too, which is not tested.

    Args:
        folder: of the run.
        seconds: how long to wait for another process to end.

    Raises:
        UserError: another process writes the folder, and goes on doing so.
    """
    if folder in _held or not is_first():
        return
    deadline, told = time.monotonic() + seconds, False
    while (file := _locked(folder)) is None:
        other = _holder(folder)
        if time.monotonic() >= deadline:
            raise UserError(
                f"{folder} is the run of {other}, which still trains after {seconds:g} s of waiting: two "
                "processes never write one folder; let it end, or give this run another --run"
            )
        if not told:
            rank_zero_info(f"waiting {seconds:g} s at most for {other}, which writes {folder}, to end")
            told = True
        time.sleep(0.2)
    _held[folder] = file
    me = {"host": socket.gethostname(), "pid": os.getpid(), "since": datetime.now().isoformat(" ", "seconds")}
    os.ftruncate(file, 0)
    os.pwrite(file, json.dumps(me).encode() + b"\n", 0)


def release() -> None:
    """Give up the locks of this process, and remove their files, and folders that hold nothing else."""
    for folder, file in list(_held.items()):
        del _held[folder]
        (folder / FILE).unlink(missing_ok=True)  # before the lock ends: who waits sees that the file is another
        os.close(file)
        with suppress(OSError):  # there is something in it
            folder.rmdir()


def _locked(folder: Path) -> int | None:
    """Return the open and locked file, or None where another process has it."""
    path = folder / FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise UserError(f"{folder} cannot be the folder of a run ({error.strerror}); name another by --run") from error
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.exists() and path.stat().st_ino == os.fstat(file).st_ino:
            return file
    except (BlockingIOError, PermissionError):
        pass
    except OSError as error:
        rank_zero_info(
            f"{folder}: its file system has no locks ({error.strerror}), so that two runs there are not seen"
        )
        return file
    os.close(file)
    return None


def _holder(folder: Path) -> str:
    """Name the process that the lock file tells of."""
    try:
        other = json.loads((folder / FILE).read_text())
        return f"process {other['pid']} on {other['host']} (since {other['since']})"
    except (OSError, ValueError, KeyError):
        return "another process"
