"""Matrices with tokens on their axes, drawn with matplotlib; imported only where a picture is made.

All lengths are in inches.
"""

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from s2s_lightning.plotting.fonts import families, one_line_for_missing_glyphs

CELL = 0.22  # room for a line of 8 points
CHARACTER = 0.085
PAGE = 14.0
GAP = 0.35
TITLE = 0.3
CAPTION = 0.2
DPI = 110
READABLE = 0.17  # a smaller cell would ask for letters below 6 points: it gets none
LONGEST_LABEL = 24


class Panel(NamedTuple):
    """A matrix of weights (rows, columns) with a label for each row and column.

    Attributes:
        title: above it.
        columns: labels from left to right.
        rows: labels from top to bottom.
        weights: from 0, white, to their maximum, dark blue; NaN is a gap.
        cell: the side of a cell; at full size a label fits into it.
        captions: (column, text) below the matrix, each centred at its column.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[str]
    weights: Any
    cell: float = CELL
    captions: Sequence[tuple[float, str]] = ()


class Box(NamedTuple):
    """Place of a panel's matrix on the page: left and top edges, width and height."""

    left: float
    top: float
    width: float
    height: float


def save(panels: Sequence[Panel], path: Path) -> None:
    """Draw the panels in rows, as many to a row as the page is wide; a longer matrix makes a wider page.

    What no installed font has is drawn as a box, and said on stderr in one line, once in a process.
    """
    panels = [item._replace(columns=_printable(item.columns), rows=_printable(item.rows)) for item in panels]
    boxes, width, height = layout(panels)
    figure = Figure(figsize=(width, height), dpi=DPI)
    FigureCanvasAgg(figure)
    with one_line_for_missing_glyphs():
        for item, box in zip(panels, boxes, strict=True):
            place = (box.left / width, 1 - (box.top + box.height) / height, box.width / width, box.height / height)
            _draw(figure.add_axes(place), item, families())
        figure.savefig(path)


def cut(item: Panel, max_length: int) -> Panel:
    """Return the first ``max_length`` rows and columns of a panel; its title then says so."""
    longest = max(len(item.columns), len(item.rows))
    if longest <= max_length:
        return item
    title = f"{item.title}, the first {max_length} tokens of {longest}"
    columns, rows = item.columns[:max_length], item.rows[:max_length]
    return item._replace(title=title, columns=columns, rows=rows, weights=item.weights[:max_length, :max_length])


def layout(panels: Sequence[Panel]) -> tuple[list[Box], float, float]:
    """A box a panel, and the width and height of the page; each cell is a square."""
    boxes: list[Box] = []
    left = top = GAP
    bottom = right = 0.0
    for item in panels:
        margin, head = _margins(item)
        width, height = item.cell * len(item.columns), item.cell * len(item.rows)
        if boxes and left + margin + width + GAP > PAGE:
            left, top = GAP, bottom + GAP
        boxes.append(Box(left + margin, top + head, width, height))
        left += margin + max(width, CHARACTER * columns_of(_title(item))) + GAP
        foot = CAPTION if item.captions else 0.0
        bottom, right = max(bottom, top + head + height + foot), max(right, left)
    return boxes, right, bottom + GAP


def columns_of(text: str) -> int:
    """The columns that a terminal would give to the text: two to a wide character, none to a combining one."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.combining(character) > 0 for character in text)


def _printable(labels: Sequence[str]) -> list[str]:
    """Return labels on one line each, and not too long for an axis."""
    shown = ("".join(c if c.isprintable() or _joins(c) else repr(c)[1:-1] for c in label) for label in labels)
    return [label if len(label) <= LONGEST_LABEL else label[: LONGEST_LABEL - 1] + "…" for label in shown]


def _joins(character: str) -> bool:
    """True for joiners and marks of direction, which shape their neighbours and so must stay."""
    return unicodedata.category(character) == "Cf"


def _margins(item: Panel) -> tuple[float, float]:
    """Room for the labels at the left, and for labels and title above."""
    scale = item.cell / CELL if item.cell >= READABLE else 0.0
    left, above = (
        scale * CHARACTER * max(map(columns_of, labels), default=0) + 0.1 for labels in (item.rows, item.columns)
    )
    return left, above + TITLE


def _title(item: Panel) -> str:
    return f"{item.title}  (darkest {_darkest(item):.2f})"


def _darkest(item: Panel) -> float:
    return float(np.nanmax(item.weights))


def _draw(axes: Any, item: Panel, fonts: list[str]) -> None:
    axes.imshow(item.weights, cmap="Blues", vmin=0, vmax=_darkest(item), aspect="auto", interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    # Texts and not ticks, which cost twice the time.
    font: dict[str, Any] = {"fontfamily": fonts, "fontsize": 8 * item.cell / CELL, "parse_math": False}
    edge = -0.7  # in cells: the matrix begins at -0.5
    if item.cell >= READABLE:
        for place, label in enumerate(item.columns):
            axes.text(place, edge, label, rotation=90, ha="center", va="bottom", **font)
        for place, label in enumerate(item.rows):
            axes.text(edge, place, label, ha="right", va="center_baseline", **font)
    # above and below the matrix, in points
    above, below = (0, 72 * _margins(item)[1] - 12), (0, -2)
    options: dict[str, Any] = {"textcoords": "offset points", "fontfamily": fonts, "parse_math": False}
    axes.annotate(_title(item), (0, 1), above, xycoords="axes fraction", fontsize=9, **options)
    for column, text in item.captions:
        centre = ((column + 0.5) / len(item.columns), 0)
        axes.annotate(text, centre, below, xycoords="axes fraction", fontsize=7, ha="center", va="top", **options)
    for spine in axes.spines.values():
        spine.set_color("0.7")
