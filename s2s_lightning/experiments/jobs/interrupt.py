"""After Ctrl-C, SIGTERM or a hang-up, what runs gets the time to end well."""

import signal
import time
from collections.abc import Callable, Sequence

from s2s_lightning.experiments.jobs.process import Process

LOOK = 0.05
"""Seconds between two looks at the running processes."""

GRACE = 120.0
"""Seconds that interrupted processes have to end well."""


def end_well(processes: Sequence[Process], meanwhile: Callable[[], None] = lambda: None) -> None:
    """SIGINT to all, which lets a training save; SIGKILL to what still runs after ``GRACE``, or at another Ctrl-C.

    Args:
        processes: those that run.
        meanwhile: what is done again and again until they have ended.
    """
    try:
        _signal(processes, signal.SIGINT)
        end = time.monotonic() + GRACE
        while time.monotonic() < end and any(process.code is None for process in processes):
            meanwhile()
            time.sleep(LOOK)
    except KeyboardInterrupt:
        pass
    _signal(processes, signal.SIGKILL)


def _signal(processes: Sequence[Process], number: signal.Signals) -> None:
    for process in processes:
        process.signal(number)
