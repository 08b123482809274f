"""Matrices with tokens on their axes, drawn with matplotlib; imported only where a picture is made.

All lengths are in inches.
"""

import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

CELL = 0.22  # room for a line of 8 points
CHARACTER = 0.085
PAGE = 14.0
GAP = 0.35
TITLE = 0.3
DPI = 110
FONTS = (
    *("DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans", "Noto Sans Arabic", "Noto Sans Hebrew"),
    *("Noto Sans Devanagari", "WenQuanYi Zen Hei", "Arial Unicode MS", "Hiragino Sans", "Microsoft YaHei"),
)


class Panel(NamedTuple):
    """A matrix of weights (rows, columns) with a label for each row and column."""

    title: str
    columns: Sequence[str]
    rows: Sequence[str]
    weights: Any


class Box(NamedTuple):
    """Where the matrix of a panel stands on the page: left and top edges, width and height."""

    left: float
    top: float
    width: float
    height: float


def save(panels: Sequence[Panel], path: Path) -> None:
    """Draw the panels in rows, as many to a row as the page is wide; a longer matrix makes a wider page."""
    boxes, width, height = layout(panels)
    figure = Figure(figsize=(width, height), dpi=DPI)
    FigureCanvasAgg(figure)
    for item, box in zip(panels, boxes, strict=True):
        place = (box.left / width, 1 - (box.top + box.height) / height, box.width / width, box.height / height)
        _draw(figure.add_axes(place), item)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # that no font has: the box drawn in its place says so
        figure.savefig(path)


def layout(panels: Sequence[Panel]) -> tuple[list[Box], float, float]:
    """A box a panel, and the width and height of the page; each cell is a square in which a label fits."""
    boxes: list[Box] = []
    left = top = GAP
    bottom = right = 0.0
    for item in panels:
        margin, head = _margins(item)
        width, height = CELL * len(item.columns), CELL * len(item.rows)
        if boxes and left + margin + width + GAP > PAGE:
            left, top = GAP, bottom + GAP
        boxes.append(Box(left + margin, top + head, width, height))
        left += margin + max(width, CHARACTER * len(_title(item))) + GAP
        bottom, right = max(bottom, top + head + height), max(right, left)
    return boxes, right, bottom + GAP


def _margins(item: Panel) -> tuple[float, float]:
    """Room for the labels at the left, and for labels and title above."""
    left, above = (CHARACTER * max(len(label) for label in labels) + 0.1 for labels in (item.rows, item.columns))
    return left, above + TITLE


def _title(item: Panel) -> str:
    return f"{item.title}  (darkest {np.max(item.weights):.2f})"


def _draw(axes: Any, item: Panel) -> None:
    font: dict[str, Any] = {"fontfamily": _fonts(), "fontsize": 8, "parse_math": False}
    axes.imshow(item.weights, cmap="Blues", vmin=0, vmax=np.max(item.weights), aspect="auto", interpolation="nearest")
    axes.set_xticks(range(len(item.columns)), item.columns, rotation=90, **font)
    axes.set_yticks(range(len(item.rows)), item.rows, **font)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    above = (0, 72 * _margins(item)[1] - 12)  # points
    axes.annotate(_title(item), (0, 1), above, xycoords="axes fraction", textcoords="offset points", fontsize=9)
    for spine in axes.spines.values():
        spine.set_color("0.7")


@cache
def _fonts() -> list[str]:
    """Those at hand of a list that covers most scripts; a missing one would cost a warning a label."""
    present = set(font_manager.get_font_names())
    return [font for font in FONTS if font in present]
