"""Screen of a sweep: a bar, and a line for each trial."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from s2s_lightning.experiments.jobs.columns import shown
from s2s_lightning.experiments.jobs.screen_lines import Lines
from s2s_lightning.experiments.sweeps.study import Study
from s2s_lightning.experiments.sweeps.trial_table import STATES, Row, rows


class Screen(Lines):
    """The bar and the lines of a sweep.

    Args:
        names: the parameters that are told, and how they are called.
        total: trials in all.
    """

    def __init__(self, names: Mapping[str, str], total: int) -> None:
        super().__init__(total, "trials")
        self.names = names

    def begins(self, number: int, values: Mapping[tuple[str, ...], Any]) -> None:
        named = {".".join(path): value for path, value in values.items()}
        settings = "  ".join(f"{self.names[name]}={shown(named[name])}" for name in self.names)
        self.say(f"trial {number}  begins  {settings}")

    def ended(self, study: Study, number: int, folder: Path) -> None:
        row = next(row for row in rows(study) if row.number == number)
        result = f"{study.sweep.metric.name} {shown(row.value)}" if row.value is not None else ""
        cause = f"{row.cause} ({folder}/output.log)" if row.cause else ""
        words = [f"trial {number}", row.state, result, cause, f"{row.seconds:.0f} s"]
        self.say("  ".join(filter(None, words)))

    def progress(self, study: Study) -> None:
        found = rows(study)
        running = sum(row.state == STATES["RUNNING"] for row in found)
        self.count(len(found) - running, f"{running} running{_best(study, found)}")


def _best(study: Study, found: list[Row]) -> str:
    if found and found[0].value is not None:
        return f", best {study.sweep.metric.name} {shown(found[0].value)} (trial {found[0].number})"
    return ""
