"""A table of cells for terminals and as Markdown."""

import json
import math
from collections.abc import Sequence
from typing import Any

Cells = Sequence[str]


def shown(value: Any) -> str:
    """A value as people write it."""
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)


def aligned(head: Cells, body: Sequence[Cells]) -> str:
    """Columns for a terminal, those of numbers to the right."""
    table = [head, *body]
    widths = [max(len(line[i]) for line in table) for i in range(len(head))]
    numeric = [all(_is_number(line[i]) for line in body) for i in range(len(head))]
    lines = ("  ".join(_aligned(*cell) for cell in zip(line, widths, numeric, strict=True)) for line in table)
    return "\n".join(line.rstrip() for line in lines)


def markdown(head: Cells, body: Sequence[Cells]) -> str:
    lines = [head, ["---"] * len(head), *([cell.replace("|", r"\|") for cell in line] for line in body)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _aligned(cell: str, width: int, numeric: bool) -> str:
    return cell.rjust(width) if numeric else cell.ljust(width)


def _is_number(cell: str) -> bool:
    try:
        float(cell or 0)
    except ValueError:
        return False
    return True
