"""Signals that ask a training to end: they set a flag, and the training ends where it can do so well.

Nothing heavy is imported here: the flag is there while Python still imports the rest, which takes seconds.
"""

import os
import signal
from types import FrameType
from typing import Final

STOP: Final = 1
"""To end as after the last step. It is less than the number of any signal: of two requests the greater one holds."""

GRACEFUL = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))
"""By which clusters, containers and supervisors announce the end; Windows knows the first alone."""


class Asked:
    """What this process has been asked for: the number of a signal, ``STOP``, or 0."""

    def __init__(self) -> None:
        self.number = 0

    def hear(self, number: int, frame: FrameType | None = None) -> None:
        """Nothing else: other ranks may be anywhere, and would wait for whatever else were done here."""
        self.number = max(self.number, number)


asked = Asked()
"""Of this process."""


def listen() -> None:
    """Set the flag from now on; signals that were blocked until now, and have come, set it at once."""
    for number in GRACEFUL:
        signal.signal(number, asked.hear)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, GRACEFUL)


def turn_deaf(*_: object) -> None:
    """In a worker process, whose parent answers a signal that reaches all of a job; and where nothing is left to do."""
    for number in (signal.SIGINT, *GRACEFUL):
        signal.signal(number, signal.SIG_IGN)


def in_slurm() -> bool:
    """Whether this process belongs to a job of SLURM."""
    return "SLURM_JOB_ID" in os.environ
