"""Signals that ask a training to end: they set a flag, and the training ends where it can do so well.

Nothing heavy is imported here: the flag is there while Python still imports the rest, which takes seconds.
"""

import os
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

STOP: Final = 0.5
"""To end as after the last step. It is less than the number of any signal: of two requests the greater one holds."""

HANGUP: int | None = getattr(signal, "SIGHUP", None)
"""By which a terminal says that it is gone, with the connection that it came over; Windows has none."""

GRACEFUL = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1", "SIGHUP") if hasattr(signal, name))
"""By which clusters, containers, supervisors and terminals announce the end; Windows knows the first alone."""


def graceful() -> tuple[int, ...]:
    """Return ``GRACEFUL`` without a hang-up that is ignored, as ``nohup`` asks for."""
    return tuple(number for number in GRACEFUL if number != HANGUP or signal.getsignal(number) != signal.SIG_IGN)


class Asked:
    """Request to this process: the number of a signal, ``STOP``, or 0."""

    def __init__(self) -> None:
        self.number: float = 0

    def hear(self, number: float, frame: FrameType | None = None) -> None:
        """Nothing else: other ranks may be anywhere, and would wait for whatever else were done here."""
        self.number = max(self.number, number)
        if number == HANGUP:
            leave_terminal()


asked = Asked()
"""Of this process."""


def listen() -> None:
    """Set the flag from now on; signals that were blocked until now, and have come, set it at once."""
    for number in graceful():
        signal.signal(number, asked.hear)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, GRACEFUL)


class Interrupted(KeyboardInterrupt):
    """A signal ends this process, which cleans up as it does after Ctrl-C.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def interrupt(number: int, frame: FrameType | None = None) -> None:
    """A handler that raises ``Interrupted``."""
    if number == HANGUP:
        leave_terminal()
    raise Interrupted(number)


def press_ctrl_c(number: int, frame: FrameType | None = None) -> None:
    """A handler after which the signal counts as Ctrl-C."""
    if number == HANGUP:
        leave_terminal()
    raise KeyboardInterrupt


@contextmanager
def interruptible(*numbers: int, handler: Callable[[int, FrameType | None], None] = interrupt) -> Iterator[None]:
    """Let SIGTERM, further signals, and a hang-up that is not ignored interrupt the work while the context lasts."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ends = {signal.SIGTERM, *(number for number in graceful() if number == HANGUP), *numbers}
    previous = {number: signal.signal(number, handler) for number in ends}
    try:
        yield
    finally:
        for number, before in previous.items():
            signal.signal(number, before)


def leave_terminal() -> None:
    """Put the null device into the place of a terminal that is gone: each line for it would raise an error."""
    for number in range(3):
        with suppress(OSError):
            if stat.S_ISCHR(os.fstat(number).st_mode) and not os.isatty(number):
                os.dup2(os.open(os.devnull, os.O_RDWR), number)


def turn_deaf(*_: object) -> None:
    """Ignore signals in a worker process, whose parent answers a signal to the whole job, and where nothing is left to
    do.
    """
    for number in (signal.SIGINT, *GRACEFUL):
        signal.signal(number, signal.SIG_IGN)


def in_slurm() -> bool:
    """True if this process belongs to a job of SLURM."""
    return "SLURM_JOB_ID" in os.environ
