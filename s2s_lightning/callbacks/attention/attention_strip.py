"""Strips of attention: the maps of a sentence at several steps of training, side by side."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from s2s_lightning.callbacks.attention.attention_maps import Labels

if TYPE_CHECKING:
    from s2s_lightning.plotting.matrices import Panel

WIDTH, HEIGHT = 20.0, 6.0
SMALLEST = 0.04
"""Inches: a strip is no wider or higher, where its cells need not be smaller than that."""

Frames = dict[int, dict[int, Tensor]]
"""The map (T, S) of each item, at each step."""


def thinned(frames: Frames, count: int) -> Frames:
    """Return at most ``count`` of the steps, in order and spread over training: the last, and the first if there are
    two.

    Of too many, that one goes whose neighbours are closest to each other, so that the gaps stay alike.
    """
    kept = dict(sorted(frames.items()))
    while len(kept) > count:
        steps = list(kept)
        del kept[min(steps[1:-1] if count > 1 else steps[:-1], key=lambda step: _gap(steps, step))]
    return kept


def _gap(steps: Sequence[int], step: int) -> int:
    place = steps.index(step)
    return steps[place + 1] - steps[max(0, place - 1)]


def strip(title: str, labels: Labels, maps: dict[int, Tensor]) -> "Panel":
    """The maps (T, S) of one sentence by step, a gap between two; source tokens stand above the first alone."""
    from s2s_lightning.plotting.matrices import CELL, Panel

    target, width = next(iter(maps.values())).shape
    gap = torch.full((target, 1), torch.nan)
    weights = torch.cat([part.float() for each in maps.values() for part in (each, gap)][:-1], 1)
    cell = min(CELL, WIDTH / weights.shape[1], HEIGHT / target)
    columns = [*labels.source[:width], *[""] * (weights.shape[1] - width)]
    captions = [((width + 1) * place + (width - 1) / 2, f"step {step:,}") for place, step in enumerate(maps)]
    return Panel(title, columns, labels.target[:target], weights.numpy(), max(cell, SMALLEST), captions)
