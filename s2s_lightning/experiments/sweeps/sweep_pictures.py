"""Pictures of a sweep: its history, its trials in parallel coordinates, and how much each parameter matters.

Drawn here and not by ``optuna.visualization``, which leaves its figures in pyplot's memory.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from s2s_lightning.experiments.jobs.columns import shown
from s2s_lightning.experiments.sweeps.space import Parameter
from s2s_lightning.experiments.sweeps.study import Study
from s2s_lightning.experiments.sweeps.trial_table import Row, short_names

DPI = 110
COLOUR, FAINT, BEST = "#1f5fa8", "#b9c3cf", "#d2502d"
FEW = 4
"""Finished trials below which importance says nothing."""

BEST_SHARE = 0.25
"""The importance of a parameter is for getting among this share of the trials."""

FEW_VALUES = 6
"""An axis with at most as many different numbers marks these; others have round numbers."""

WIDE = 50
"""A metric whose largest and smallest values have this ratio gets a logarithmic axis."""


class Axis(NamedTuple):
    """A vertical line of the parallel coordinates.

    Attributes:
        places: of each trial on it, from 0 to 1.
        ticks: places and labels.
    """

    label: str
    places: list[float]
    ticks: list[tuple[float, str]]


def draw(study: Study, found: Sequence[Row], folder: Path) -> list[str]:
    """Write ``history.png``, ``parallel.png`` and ``importance.png``; what is to be said of those left out."""
    rows = [row for row in found if row.value is not None]
    history(study, rows, folder / "history.png")
    parallel(study, rows, folder / "parallel.png")
    done = sum(row.state == "done" for row in rows)
    weights = importances(study) if done >= FEW else {}
    if not weights:
        return [f"no importance.png: it takes {FEW} trials that ran to their end and differ in parameters and results"]
    importance(study, weights, done, folder / "importance.png")
    return []


def history(study: Study, rows: Sequence[Row], path: Path) -> None:
    """Each trial's best value by its number, and the best so far."""
    ordered = sorted(rows, key=lambda row: row.number)
    numbers, values = [row.number for row in ordered], [float(row.value or 0) for row in ordered]
    better = np.minimum if study.sweep.metric.goal == "minimize" else np.maximum
    figure, axes = _figure(7, 4)
    for state, marker, colour in (("done", "o", COLOUR), ("stopped early", "x", "0.5"), ("running", "o", FAINT)):
        points = [(n, v) for n, v, row in zip(numbers, values, ordered, strict=True) if row.state == state]
        if points:
            axes.scatter(*zip(*points, strict=True), marker=marker, color=colour, label=state, zorder=3)
    axes.step(numbers, better.accumulate(values), where="post", color=BEST, label="best so far")
    _value_axis(axes, values)
    axes.set_xlabel("trial")
    axes.set_ylabel(study.sweep.metric.name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color="0.92")
    axes.legend(frameon=False, fontsize=9)
    _save(figure, path)


def parallel(study: Study, rows: Sequence[Row], path: Path) -> None:
    """A line a trial through its parameters to its result; the better, the darker, and the best in red."""
    names = short_names(study.sweep.drawn)
    values = [float(row.value or 0) for row in rows]
    axes = [_parameter_axis(p, names[p.name], [row.settings[p.name] for row in rows]) for p in study.sweep.drawn]
    axes.append(_number_axis(study.sweep.metric.name, values, log=_is_wide(values)))
    figure, canvas = _figure(max(5.0, 1.8 * len(axes)), 4.5)
    ranks = Normalize(0, max(1, len(rows) - 1))  # by rank: one bad trial must not make all others alike
    for rank in reversed(range(len(rows))):
        line = [axis.places[rank] for axis in axes]
        colour = BEST if rank == 0 else colormaps["Blues"](0.9 - 0.7 * ranks(rank))
        canvas.plot(range(len(axes)), line, color=colour, linewidth=2.2 if rank == 0 else 1.2, zorder=len(rows) - rank)
    for position, axis in enumerate(axes):
        _draw_axis(canvas, position, axis, above=len(rows))
    canvas.set_xlim(-0.15, len(axes) - 0.55)
    canvas.set_ylim(-0.05, 1.05)
    canvas.set_xticks(range(len(axes)), [axis.label for axis in axes], parse_math=False)
    canvas.set_yticks([])
    canvas.tick_params(length=0, labeltop=True, labelbottom=False)
    for spine in canvas.spines.values():
        spine.set_visible(False)
    _save(figure, path)


def importance(study: Study, weights: dict[str, float], trials: int, path: Path) -> None:
    """Bars, the most important parameter on top."""
    names = short_names(study.sweep.drawn)
    ordered = sorted(weights.items(), key=lambda item: item[1])
    figure, axes = _figure(6, 1.2 + 0.4 * len(ordered))
    bars = axes.barh([names[name] for name, _ in ordered], [weight for _, weight in ordered], color=COLOUR, height=0.6)
    axes.bar_label(bars, [f"{weight:.2f}" for _, weight in ordered], padding=3, fontsize=9)
    axes.set_xlim(0, 1.12 * max(weights.values()))
    axes.set_xlabel(f"importance for the best {BEST_SHARE:.0%} by {study.sweep.metric.name} ({trials} trials)")
    _save(figure, path)


def importances(study: Study) -> dict[str, float]:
    """PED-ANOVA (Watanabe et al., 2023, arXiv:2304.10255), of the trials that ran to their end; they sum to 1.

    None where all parameters or all results are alike.
    """
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    done = [trial for trial in study.real() if trial.state.name == "COMPLETE"]
    alike = len({trial.value for trial in done}) < 2
    varied = [name for name in study.distributions if len({trial.params[name] for trial in done}) > 1]
    if alike or not varied:
        return {}
    evaluator = PedAnovaImportanceEvaluator(target_quantile=BEST_SHARE)
    return get_param_importances(study.optuna, evaluator=evaluator, params=varied)


def _parameter_axis(parameter: Parameter, label: str, values: list[Any]) -> Axis:
    """Numbers by size, logarithmic where they are drawn so; everything else in the file's order."""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        numbers = [float(value) for value in values]
        spread = parameter.kind == "categorical" and _is_wide(numbers)
        return _number_axis(label, numbers, log=(parameter.is_log or spread) and min(numbers) > 0)
    texts = [json.dumps(value) for value in parameter.settings.get("values", values)]
    known = list(dict.fromkeys([*texts, *(json.dumps(value) for value in values)]))
    place = {text: i / (len(known) - 1) if len(known) > 1 else 0.5 for i, text in enumerate(known)}
    ticks = [(place[text], _cut(shown(json.loads(text)))) for text in known]
    return Axis(label, [place[json.dumps(value)] for value in values], ticks)


def _number_axis(label: str, values: list[float], log: bool) -> Axis:
    scale = math.log10 if log else float
    low, high = scale(min(values)), scale(max(values))
    room = (high - low) or 1.0

    def place(value: float) -> float:
        return (scale(value) - low) / room if high > low else 0.5

    ends = [min(values), max(values)]
    if len(set(values)) <= FEW_VALUES:
        marked = sorted(set(values))
    else:
        whole = all(value == int(value) for value in values)
        locator = LogLocator(subs=(1, 2, 5)) if log else MaxNLocator(5, integer=whole)
        inner = [float(tick) for tick in locator.tick_values(*ends) if ends[0] <= tick <= ends[1]]
        marked = sorted({*ends, *(tick for tick in inner if min(abs(place(tick) - place(end)) for end in ends) > 0.06)})
    return Axis(label, [place(value) for value in values], [(place(value), shown(value)) for value in marked])


def _draw_axis(axes: Any, position: int, axis: Axis, above: int) -> None:
    axes.plot([position, position], [0, 1], color="0.35", linewidth=1, zorder=above + 1)
    for place, label in axis.ticks:
        axes.plot([position, position + 0.03], [place, place], color="0.35", linewidth=1, zorder=above + 1)
        box = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1}
        where = {"va": "center", "fontsize": 8, "zorder": above + 2, "bbox": box, "parse_math": False}
        axes.text(position + 0.05, place, label, **where)


def _value_axis(axes: Any, values: list[float]) -> None:
    if _is_wide(values):
        axes.set_yscale("log")


def _is_wide(values: list[float]) -> bool:
    return min(values) > 0 and max(values) / min(values) > WIDE


def _cut(text: str) -> str:
    return text if len(text) <= 18 else f"{text[:8]}…{text[-9:]}"


def _figure(width: float, height: float) -> tuple[Figure, Any]:
    """A figure of its own, never pyplot's, which keeps each one for ever."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure: Figure, path: Path) -> None:
    partial = path.with_name(f".{path.name}")
    figure.savefig(partial, format="png")
    partial.replace(path)
