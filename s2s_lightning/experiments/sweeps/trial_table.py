"""The trials of a study as a table, the best first: for the terminal, as Markdown and as CSV."""

import csv
import io
import json
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from s2s_lightning.experiments.jobs.columns import aligned, markdown, shown
from s2s_lightning.experiments.sweeps.space import Parameter
from s2s_lightning.experiments.sweeps.study import Study

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

STATES = {"COMPLETE": "done", "PRUNED": "stopped early", "FAIL": "failed", "RUNNING": "running"}


class Row(NamedTuple):
    """A trial.

    Attributes:
        value: the best that it has reported, None where it has failed or reported nothing yet.
        seconds: from its start to its end, or to now.
        settings: its value of each parameter that differs between trials, by name.
        run: the folder of its run, where it has told it.
        cause: why it has failed.
        command: its command line.
    """

    number: int
    state: str
    value: float | None
    validations: int
    seconds: float
    settings: dict[str, Any]
    run: str
    cause: str
    command: list[str]


def rows(study: Study) -> list[Row]:
    """The trials that count, the best first, then those that have no result."""
    sign = 1 if study.sweep.metric.goal == "minimize" else -1
    found = [_row(study, trial) for trial in study.real()]
    return sorted(found, key=lambda r: (r.value is None, sign * (r.value or 0.0), r.number))


def _row(study: Study, trial: "FrozenTrial") -> Row:
    drawn = [] if len(trial.params) < len(study.distributions) else study.sweep.drawn  # it is just being drawn
    values, said = study.values(trial) if drawn else {}, trial.user_attrs
    end = trial.datetime_complete or datetime.now()
    return Row(
        number=trial.number,
        state=STATES[trial.state.name],
        value=None if trial.state.name == "FAIL" else study.sweep.metric.best(trial.intermediate_values.values()),
        validations=len(trial.intermediate_values),
        seconds=(end - (trial.datetime_start or end)).total_seconds(),
        settings={parameter.name: values[parameter.path] for parameter in drawn},
        run=said.get("run", ""),
        cause=said.get("cause", ""),
        command=said.get("command", []),
    )


def short_names(drawn: Sequence[Parameter]) -> dict[str, str]:
    """Name -> as many of its last parts as tell it from the others: ``lr`` for ``optimizer.init_args.lr``."""
    names = [parameter.name for parameter in drawn]
    return {name: _shortest(name, names) for name in names}


def _shortest(name: str, names: list[str]) -> str:
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        short = ".".join(parts[-count:])
        if sum(f".{other}".endswith(f".{short}") for other in names) == 1:
            return short
    return name


def as_text(study: Study, found: Sequence[Row]) -> str:
    """Aligned columns for a terminal."""
    return aligned(*_cells(study, found))


def as_markdown(study: Study, found: Sequence[Row]) -> str:
    return markdown(*_cells(study, found))


def as_csv(study: Study, found: Sequence[Row]) -> str:
    """Write all digits and full names; a value that is no number or text is JSON."""
    drawn = [parameter.name for parameter in study.sweep.drawn]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["trial", "state", study.sweep.metric.name, "validations", "seconds", *drawn, "run", "cause"])
    for row in found:
        settings = [_exact(row.settings[name]) if name in row.settings else "" for name in drawn]
        value = "" if row.value is None else row.value
        judged = [row.number, row.state, value, row.validations, f"{row.seconds:.1f}"]
        writer.writerow([*judged, *settings, row.run, row.cause])
    return file.getvalue()


def _exact(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _cells(study: Study, found: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Head and body; a column for causes only where there are any."""
    names = short_names(study.sweep.drawn)
    failed = any(row.cause for row in found)
    head = ["trial", "state", study.sweep.metric.name, "validations", "seconds", *names.values(), *["cause"] * failed]
    body = [
        [
            *(str(row.number), row.state, "" if row.value is None else shown(row.value), str(row.validations)),
            f"{row.seconds:.0f}",
            *(shown(row.settings[name]) if name in row.settings else "" for name in names),
            *[row.cause] * failed,
        ]
        for row in found
    ]
    return head, body
