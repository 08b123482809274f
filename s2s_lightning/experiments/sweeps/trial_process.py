"""Messages between a trial and the sweep that has started it, through files in the trial's folder.

``trial.json`` says what the trial is. The trial appends a line ``{"value": 1.23}`` to ``reports.jsonl`` for each
validation; where trials are stopped early, it then waits until ``answer`` names as many reports, with "stop" or "go".
Files, because they reach a trial through torchrun, srun and shells, whatever program it is. The other side of this is
``callbacks/study_trial.py``.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from s2s_lightning.errors import UserError
from s2s_lightning.experiments.jobs.process import Process
from s2s_lightning.files import write_whole

VARIABLE = "S2S_LIGHTNING_TRIAL"
"""Environment variable with the trial's folder."""


class Report(NamedTuple):
    """A validation: the metric's value, and the folder of the run where the trial knows it."""

    value: float
    run: str | None = None


class TrialProcess(Process):
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
        write_whole(folder / "trial.json", json.dumps({**said, "command": list(words)}, indent=2) + "\n")
        self._reports = folder / "reports.jsonl"
        self._reports.write_text("")
        self._read = 0
        super().__init__(folder, words, {**environment, VARIABLE: str(folder.absolute())})

    def new_reports(self) -> list[Report]:
        """Return the reports since the last call; a line without its end is left for the next one.

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
