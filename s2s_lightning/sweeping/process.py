"""A trial as a process of its own, and what it and the sweep tell each other through files in its folder.

``trial.json`` says what the trial is. The trial appends a line ``{"value": 1.23}`` to ``reports.jsonl`` for each
validation; where trials are stopped early, it then waits until ``answer`` names as many reports, with "stop" or "go".
Files, because they reach a trial through torchrun, srun and shells, whatever program it is. The other side of this is
``callbacks/study_trial.py``.
"""

import ctypes
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from s2s_lightning.errors import UserError

VARIABLE = "S2S_LIGHTNING_TRIAL"
"""Environment variable with the trial's folder."""

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
PR_SET_PDEATHSIG = 1
LONGEST = 300
"""Characters of an error that are kept."""

ERROR = re.compile(r"error: |[\w.]*(Error|Exception)\b")
"""Our own last line, or that of a traceback."""


class Report(NamedTuple):
    """A validation: the metric's value, and the folder of the run where the trial knows it."""

    value: float
    run: str | None = None


class Process:
    """A trial that runs.

    Args:
        folder: of the trial.
        words: its command line.
        said: the content of ``trial.json``.
        environment: what is set beside this process's own.
    """

    def __init__(
        self, folder: Path, words: Sequence[str], said: Mapping[str, Any], environment: Mapping[str, str]
    ) -> None:
        self.folder = folder
        (folder / "trial.json").write_text(json.dumps({**said, "command": list(words)}, indent=2) + "\n")
        self._reports = folder / "reports.jsonl"
        self._reports.write_text("")
        self._read = 0
        with (folder / "output.log").open("wb") as log:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment, VARIABLE: str(folder.absolute())},
                start_new_session=True,  # Ctrl-C is the sweep's to pass on
                preexec_fn=_interruptible,
            )

    @property
    def code(self) -> int | None:
        """Its exit code once it has ended, negative where a signal ended it."""
        return self._process.poll()

    def new_reports(self) -> list[Report]:
        """What it has said since the last call; a line that is not written to its end is left for the next.

        Raises:
            UserError: a line is no report.
        """
        with self._reports.open("rb") as file:
            file.seek(self._read)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._read += len(whole) + len(newline)
        return [self._report(line) for line in whole.decode(errors="replace").splitlines()]

    def _report(self, line: str) -> Report:
        try:
            said = json.loads(line)
            return Report(float(said["value"]), said.get("run"))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(f'{self._reports}: {line!r} is no report, such as {{"value": 1.23}}') from error

    def answer(self, reports: int, stop: bool) -> None:
        """Tell it whether to go on after so many reports."""
        partial = self.folder / ".answer"
        partial.write_text(f"{reports} {'stop' if stop else 'go'}\n")
        partial.replace(self.folder / "answer")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it and all that it has started."""
        if self.code is None:
            os.killpg(self._process.pid, number)

    def last_words(self) -> str:
        """The error that its log ends with, or else the last line that says something."""
        with (self.folder / "output.log").open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 8192))
            lines = [line.strip() for line in log.read().decode(errors="replace").splitlines()]
        spoken = [line for line in reversed(lines) if line]
        errors = (line for line in spoken if ERROR.match(line))  # loggers may have their say after it
        return next(errors, spoken[0] if spoken else "it said nothing")[:LONGEST]


def environment(slot: int, parallel: int) -> dict[str, str]:
    """The share of the machine that a trial has among as many as run at once: threads, and GPUs in turn.

    A number of threads that the user has set holds for each trial.
    """
    threads = max(1, len(_processors()) // parallel)
    shared = {name: str(threads) for name in THREADS if name not in os.environ}
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
    """In the new process: SIGINT, which ends a training well, works even where a shell's ``&`` has switched it off.

    On Linux the kernel sends it when the sweep itself is killed.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if _LIBC is not None:
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGINT)
