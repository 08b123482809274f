"""The run at a glance: what it has logged so far, in one picture."""

import csv
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger

from s2s_lightning.callbacks.reports.media import log_picture
from s2s_lightning.runs.trainer_queries import run_folder

Points = Mapping[int, float]
"""Optimizer steps made -> value."""

LEAST = 3
"""Logs of training below which a run is too short to be looked at."""

SHARE = 20
"""A picture waits until training has taken so many times the seconds that the last one took."""


class Panel(NamedTuple):
    """Axes of the picture, with the metrics whose names begin so, but for those that begin otherwise."""

    title: str
    names: tuple[str, ...]
    without: tuple[str, ...] = ()
    scale: Literal["linear", "log"] = "linear"


PANELS = (
    Panel("loss, nats a target token", ("train/loss", "train/nll", "val/loss"), scale="log"),
    Panel("validation", ("val/",), without=("val/loss", "val/ppl", "val/attention_")),
    Panel("learning rate and gradient norm", ("train/lr", "train/grad_norm"), scale="log"),
    Panel("target tokens a second", ("train/tokens_per_second",)),
)


class TrainingCurves(Callback):
    """Draws ``curves.png`` from ``metrics.csv``: losses, validation metrics, learning rate, gradient norm, speed.

    Anew at validations, where it takes no more than a twentieth of the time, and at the end. A resumed run goes on with
    the lines that its folder has; one that has logged less than three times, or no ``metrics.csv``, has no picture.
    """

    def __init__(self) -> None:
        self._next = 0.0
        self._drawn = -1

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking and time.monotonic() >= self._next:
            self._draw(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._drawn != trainer.global_step:
            self._draw(trainer)

    def _draw(self, trainer: Trainer) -> None:
        csv_logger = next((logger for logger in trainer.loggers if isinstance(logger, CSVLogger)), None)
        if not trainer.is_global_zero or csv_logger is None:
            return
        csv_logger.save()
        curves = read(Path(csv_logger.log_dir) / csv_logger.experiment.NAME_METRICS_FILE)
        if len(curves.get("train/loss", ())) < LEAST:
            return
        began = time.monotonic()
        path = run_folder(trainer) / "curves.png"
        draw(curves, path)
        log_picture(trainer, "curves", path)
        self._next = time.monotonic() + SHARE * (time.monotonic() - began)
        self._drawn = trainer.global_step


def read(path: Path) -> dict[str, Points]:
    """Each metric of a ``metrics.csv``; of a step that was made twice the later value."""
    curves: dict[str, dict[int, float]] = {}
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            for name, value in row.items():
                if value and name not in ("step", "epoch"):
                    curves.setdefault(name, {})[int(row["step"])] = float(value)
    return {name: dict(sorted(points.items())) for name, points in curves.items()}


def draw(curves: Mapping[str, Points], path: Path) -> None:
    """The panels, two in a row, each with the lines that there are for it; ``nll`` only where it is not the loss."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if repeats(curves.get("train/nll", {}), curves.get("train/loss", {})):
        curves = {name: points for name, points in curves.items() if name != "train/nll"}
    figure = Figure(figsize=(12.5, 7), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, panel in zip(figure.subplots(2, 2, sharex=True).flat, PANELS, strict=True):
        lines = {name: points for name, points in curves.items() if belongs(name, panel)}
        for name, points in lines.items():
            axes.plot(list(points), list(points.values()), label=name, **style(points))
        axes.set(title=panel.title, xlabel="step", yscale=panel.scale)
        axes.tick_params(labelbottom=True)
        axes.grid(color="0.9")
        if lines:
            axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    figure.savefig(path)


def belongs(name: str, panel: Panel) -> bool:
    """True if a metric is drawn in a panel."""
    return name.startswith(panel.names) and not name.startswith(panel.without)


def repeats(points: Points, others: Points) -> bool:
    """True if two lines look like one."""
    return points.keys() == others.keys() and all(math.isclose(points[x], others[x], rel_tol=1e-4) for x in points)


def style(points: Points) -> dict[str, Any]:
    """Few points are marked: a single one would be no line."""
    return {"marker": "o", "markersize": 3} if len(points) < 20 else {"linewidth": 1}
