"""Sizes of batches: how to search for the largest that fits, which batches are the worst, and which size is best.

M batches.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from s2s_lightning.data.bucket_sampler import Lengths, Plan
from s2s_lightning.data.ragged import IntArray

PROCESS = Path("/proc/self/status")
NEARLY = 0.97
"""Of the highest speed: what counts as the fastest, since the smallest such batch is the better one."""


class Trial(NamedTuple):
    """Training steps of one size of batch.

    Attributes:
        max_tokens: the size.
        peak: most bytes in use: by the process so far on a CPU, reserved by torch on a GPU.
        tokens_per_second: real target tokens, over ordinary batches.
    """

    max_tokens: int
    peak: int
    tokens_per_second: float


def search(fits: Callable[[int], bool], smallest: int, largest: int, precision: float) -> int | None:
    """The largest size that fits, to within a fraction of it, by doubling and bisection; None if none does."""
    if not fits(smallest):
        return None
    low, high = smallest, min(2 * smallest, largest)
    while low < largest and fits(high):
        low, high = high, min(2 * high, largest)
    while low < largest and high - low > max(1, precision * low):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def predicted(trials: Sequence[Trial], max_tokens: int) -> float:
    """The peak of a size above all that were tried, by the steepest line through two of them; 0 without two."""
    slopes = [(b.peak - a.peak) / (b.max_tokens - a.max_tokens) for a, b in pairwise(trials)]
    return trials[-1].peak + max(slopes) * (max_tokens - trials[-1].max_tokens) if slopes else 0.0


def peak_memory(device: torch.device) -> int:
    """Most bytes in use: reserved by torch since the last reset on a GPU, else resident of the process ever."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    if PROCESS.exists():  # rather than getrusage, which on Linux may count the process that started this one
        fields = dict(line.split(":", 1) for line in PROCESS.read_text().splitlines())
        return 1024 * int(fields["VmHWM"].split()[0])
    import resource  # which Windows has not

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes on macOS


def worst_rows(plan: Plan, lengths: Lengths, max_tokens: int) -> list[IntArray]:
    """Return the rows of the batches of a plan with most source tokens, target tokens, both, and attention."""
    src, tgt = (plan.widest(side).astype(np.int64) for side in lengths)
    rows = np.maximum(1, max_tokens // np.maximum(src, tgt))
    measures = (rows * src, rows * tgt, rows * (src + tgt), rows * (src + tgt) ** 2)
    return [np.resize(plan.batch(i), rows[i]) for i in sorted({int(measure.argmax()) for measure in measures})]


def fastest(trials: Sequence[Trial], largest: int) -> int:
    """The smallest size that is nearly as fast as any that fits."""
    fitting = [trial for trial in trials if trial.max_tokens <= largest]
    top = max(trial.tokens_per_second for trial in fitting)
    return next(trial.max_tokens for trial in fitting if trial.tokens_per_second >= NEARLY * top)


def same_effective(effective: int, at_most: int) -> tuple[int, int]:
    """``max_tokens``, of at most so many, and batches to accumulate: together what an optimizer step has now."""
    accumulate = -(-effective // at_most)
    return round(effective / accumulate), accumulate
