"""A command as a process of its own: its log, its end, its share of the machine."""

import ctypes
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from s2s_lightning.errors import without_secrets

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
PR_SET_PDEATHSIG = 1
LONGEST = 300
"""Characters of an error that are kept."""

ERROR = re.compile(r"error: |[\w.]*(Error|Exception)\b")
"""Our own last line, or that of a traceback."""


class Process:
    """A process whose output goes to ``output.log``.

    Args:
        folder: of the log; what an earlier process has left there is kept.
        words: the command line.
        environment: what is set beside this process's own.
        keep: open files that it inherits.
    """

    def __init__(
        self, folder: Path, words: Sequence[str], environment: Mapping[str, str], keep: Sequence[int] = ()
    ) -> None:
        self.folder = folder
        self.log = folder / "output.log"
        with self.log.open("ab") as log:
            self._begin = log.tell()
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
                start_new_session=True,  # Ctrl-C is the starter's to pass on
                preexec_fn=_interruptible,
                pass_fds=keep,
            )

    @property
    def code(self) -> int | None:
        """Its exit code once it has ended, negative where a signal ended it."""
        return self._process.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it and all that it has started."""
        if self.code is None:
            os.killpg(self._process.pid, number)

    def failure(self) -> str:
        """Why it ended with another code than 0."""
        if self.code is not None and self.code < 0:
            return f"{signal.Signals(-self.code).name}; {self.last_words()}"
        return self.last_words()

    def last_words(self) -> str:
        """The error that its log ends with, or else the last line that says something."""
        with self.log.open("rb") as log:
            log.seek(max(self._begin, log.seek(0, os.SEEK_END) - 8192))
            lines = [line.strip() for line in log.read().decode(errors="replace").splitlines()]
        spoken = [line for line in reversed(lines) if line]
        errors = (line for line in spoken if ERROR.match(line))  # loggers may have their say after it
        return without_secrets(next(errors, spoken[0] if spoken else "it said nothing"))[:LONGEST]


def environment(slot: int, parallel: int) -> dict[str, str]:
    """The share of the machine that a process has among as many as run at once: threads, and GPUs in turn.

    A number of threads that the user has set holds for each of them, and for each library, as it would without us.
    """
    given = [os.environ[name] for name in THREADS if name in os.environ]
    threads = given[0] if given else str(max(1, len(_processors()) // parallel))
    shared = {name: threads for name in THREADS if name not in os.environ}
    devices = [device for device in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if device]
    if parallel > 1 and devices:
        share = devices[slot::parallel] or [devices[slot % len(devices)]]
        shared["CUDA_VISIBLE_DEVICES"] = ",".join(share)
    return shared


def _processors() -> Sequence[int]:
    if sys.platform == "linux":
        return sorted(os.sched_getaffinity(0))
    return range(os.cpu_count() or 1)


_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def _interruptible() -> None:
    """Restore SIGINT in the new process, also where a shell's ``&`` has switched it off: it ends a training well.

    On Linux the kernel sends it when the starter itself is killed.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if _LIBC is not None:
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGINT)
