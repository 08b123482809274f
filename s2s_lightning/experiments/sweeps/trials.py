"""Trials of a study: those that count, those that are to run again, and those lost with their process."""

import os
import socket
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

BEAT = 30.0
"""Seconds between two signs of life of a running trial."""

LOST = 300.0
"""Seconds without a sign of life after which a trial of another machine is taken for lost."""

AGAIN, SUPERFLUOUS, SUCCESSOR_OF = "again", "superfluous", "successor_of"


def real(trials: "Iterable[FrozenTrial]") -> "list[FrozenTrial]":
    return [t for t in trials if not (t.state.name == "FAIL" and {AGAIN, SUPERFLUOUS} & t.user_attrs.keys())]


def fresh(trials: "Iterable[FrozenTrial]") -> "list[FrozenTrial]":
    return [trial for trial in trials if SUCCESSOR_OF not in trial.user_attrs]


def forsaken(trials: "Sequence[FrozenTrial]") -> "list[FrozenTrial]":
    """Return the trials that are to run again and have no successor yet."""
    succeeded = {trial.user_attrs.get(SUCCESSOR_OF) for trial in trials}
    return [t for t in trials if t.state.name == "FAIL" and t.user_attrs.get(AGAIN) and t.number not in succeeded]


def origin(trial: "FrozenTrial", trials: "Iterable[FrozenTrial]") -> int:
    """The number of the fresh trial that it descends from."""
    before = {other.number: other.user_attrs.get(SUCCESSOR_OF) for other in trials}
    number = trial.number
    while (older := before[number]) is not None:
        number = older
    return number


def is_lost(trial: "FrozenTrial") -> bool:
    """True if the trial's process is dead, as far as this machine can tell, or has given no sign of life for long."""
    machine, pid = trial.user_attrs.get("owner", (None, 0))
    if machine == _machine() and not _runs(pid):
        return True
    assert trial.datetime_start is not None
    alive: float = trial.user_attrs.get("alive", trial.datetime_start.timestamp())
    return time.time() - alive > LOST


def owner() -> tuple[str, int]:
    """Return the machine and the process that run a trial."""
    return _machine(), os.getpid()


def _machine() -> str:
    """Return the machine in which process numbers mean the same: containers may share a host's name, but not its
    numbers.
    """
    with suppress(OSError):
        return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"
    return socket.gethostname()


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
