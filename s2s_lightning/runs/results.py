"""Results of a run, read from the files in its folder."""

import csv
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from s2s_lightning.evaluation.metrics import lower_is_better

Scores = dict[str, float]


class Result(NamedTuple):
    """Results of a run.

    Attributes:
        monitor: the metric that has chosen its best checkpoint.
        step: of the best checkpoint.
        scores: of the best checkpoint, on the validation and, where it was tested, on the test split.
    """

    monitor: str
    step: int
    scores: Scores


def result(folder: Path) -> Result | None:
    """Return the result of the run in the folder; None where it has not validated."""
    checkpoint = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))["checkpoint"]
    monitor = checkpoint["monitor"]
    mode = checkpoint["mode"] or ("min" if lower_is_better(monitor) else "max")
    sign = 1 if mode == "min" else -1
    validated = [row for row in validations(folder) if not math.isnan(row.get(monitor, math.nan))]
    if not validated:
        return None
    best = min(validated, key=lambda row: (sign * row[monitor], row["step"]))
    scores = {name: value for name, value in best.items() if name.startswith("val/")}
    return Result(monitor, int(best["step"]), {**scores, **tested(folder)})


def validations(folder: Path) -> list[Scores]:
    """The rows of ``metrics.csv`` that have metrics of validation."""
    path = folder / "metrics.csv"
    if not path.exists():  # the run was told to log nothing
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = [{name: float(text) for name, text in row.items() if text} for row in csv.DictReader(file)]
    return [row for row in rows if any(name.startswith("val/") for name in row)]


def tested(folder: Path) -> Scores:
    path = folder / "test_scores.json"
    if not path.exists():
        return {}
    content: dict[str, dict[str, Any]] = json.loads(path.read_text())["scores"]
    return {f"test/{name}": score["value"] for name, score in content.items()}
