"""Lines on a logarithmic axis, drawn with matplotlib; imported only where a picture is made."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

WIDTH, HEIGHT = 5.5, 4.0  # inches, of a chart
DPI = 100
LABELS = 8


class Line(NamedTuple):
    """Points with a name; what is not above 0 cannot be drawn and leaves a gap."""

    label: str
    x: Sequence[float]
    y: Sequence[float]


class Chart(NamedTuple):
    """Lines on the same axes. ``marked`` is a value that a dashed line shows."""

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    marked: float | None = None


def save(charts: Sequence[Chart], path: Path) -> None:
    """Draw the charts side by side with one scale of y; the colour of a line is its place among them, dark to light."""
    figure = Figure(figsize=(WIDTH * len(charts), HEIGHT), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(charts), squeeze=False, sharey=True)[0]
    for place, chart in zip(axes, charts, strict=True):
        _draw(place, chart)
    figure.savefig(path)


def _draw(axes: Any, chart: Chart) -> None:
    last = max(1, len(chart.lines) - 1)
    for i, line in enumerate(chart.lines):
        named = len(chart.lines) <= LABELS or i in (0, last) or i % (len(chart.lines) // (LABELS - 2)) == 0
        y = [value if value > 0 else float("nan") for value in line.y]
        colour = colormaps["viridis"](0.9 * i / last)
        axes.plot(line.x, y, marker="." if len(y) < 20 else "", color=colour, label=line.label if named else None)
    if chart.marked is not None:
        axes.axhline(chart.marked, color="0.5", linestyle="--", linewidth=1)
    axes.set(title=chart.title, xlabel=chart.x_label, ylabel=chart.y_label, yscale="log")
    axes.tick_params(labelleft=True)
    axes.grid(color="0.9")
    axes.legend(fontsize=8)
