"""Confidence intervals and p-values, number for number those of sacreBLEU, for whatever has sufficient statistics.

sacreBLEU 2 (``sacrebleu.significance``) resamples with numpy's default generator, sums in float32 for the bootstrap and
exactly for randomization, and scores the sums in the type that they have. All of that is kept: in the last digit it
decides ties, and with them p-values. What differs is speed and memory: the indices of one resample are drawn at a time
and serve every system and measure, and the baseline is resampled once.
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from s2s_lightning.evaluation.metrics import Statistics

Test = Literal["bs", "ar", "none"]
Scores = npt.NDArray[np.floating[Any]]

SAMPLES = {"bs": 1_000, "ar": 10_000, "none": 0}
"""sacreBLEU's defaults."""

BLOCK = 2**25
"""Numbers of a block of random choices, 256 MiB."""

ARRANGEMENTS = 200_000
"""So many permutations are enumerated; where there are more, so many are drawn."""


@dataclass(frozen=True)
class Resampling:
    """The tests and intervals to compute, and the number of samples.

    Args:
        test: paired bootstrap (bs), approximate randomization (ar), or neither that nor intervals (none).
        samples: resamples of bs or trials of ar.
        seed: None draws a new one each time. (sacreBLEU's paired tests take 0 for None as well.)
    """

    test: Test = "bs"
    samples: int = SAMPLES["bs"]
    seed: int | None = 12345

    @property
    def resamples(self) -> int:
        """Return the number of bootstrap samples; they give the intervals with either test."""
        return {"bs": self.samples, "ar": SAMPLES["bs"], "none": 0}[self.test]

    def signed(self, signature: str, paired: bool) -> str:
        """The signature with what sacreBLEU adds to it."""
        if self.test == "none":
            return signature
        trials = f"|ar:{self.samples}" if self.test == "ar" and paired else ""
        references, _, rest = signature.partition("|")
        return f"{references}|bs:{self.resamples}{trials}|seed:{str(self.seed).lower()}|{rest}"


def bar(total: int, title: str, unit: str) -> "tqdm[Any]":
    """A bar on stderr, when that is a terminal, once the work takes more than a second."""
    return tqdm(total=total, desc=title, unit=f" {unit}", unit_scale=True, delay=1, disable=None, file=sys.stderr)


def bootstrap(systems: Sequence[Statistics], samples: int, seed: int | None) -> list[Scores]:
    """Scores of ``samples`` resamples of the items with replacement (Koehn, 2004, W04-3250), the same for all."""
    generator = np.random.default_rng(seed)
    tables = [np.array(system.rows, dtype="float32") for system in systems]
    scores: list[list[float]] = [[] for _ in systems]
    with bar(samples, "bootstrap", "resamples") as done:
        for _ in range(samples):
            items = generator.choice(len(tables[0]), size=len(tables[0]), replace=True)
            for system, table, out in zip(systems, tables, scores, strict=True):
                out.append(system.score(table.take(items, axis=0).sum(0)))
            done.update()
    return [np.array(out) for out in scores]


def interval(scores: Scores) -> tuple[float, float]:
    """The mean of the resamples, and half the width of their 95 % interval."""
    from sacrebleu.significance import estimate_ci

    mean, half = estimate_ci(scores)
    return float(mean), float(half)


def bootstrap_p(baseline: Scores, system: Scores, difference: float) -> float:
    """Two-sided p of the paired bootstrap, from scores on the same resamples."""
    gaps = np.abs(system - baseline)
    return _p(gaps - gaps.mean(), difference)


def randomization_p(
    pairs: Sequence[tuple[Statistics, Statistics]], differences: Sequence[float], samples: int, seed: int | None
) -> list[float]:
    """Two-sided p of each pair (baseline, system) by approximate randomization (Riezler and Maxwell, 2005, W05-0908).

    In each trial a coin tells for each item whether the two exchange their outputs, the same coins for all pairs.
    """
    generator = np.random.default_rng(seed)
    coins = generator.integers(2, size=(samples, len(pairs[0][0].rows)), dtype=bool)
    tables = [[np.array(each.rows, dtype="float64") for each in pair] for pair in pairs]
    gaps: list[list[float]] = [[] for _ in pairs]
    with bar(len(pairs) * samples, "randomization", "trials") as done:
        for block in np.array_split(coins, math.ceil(coins.size / BLOCK)):
            kept, swapped = block.astype("float64"), (~block).astype("float64")
            for (baseline, system), (a, b), out in zip(pairs, tables, gaps, strict=True):
                for left, right in zip(kept @ a + swapped @ b, swapped @ a + kept @ b, strict=True):
                    out.append(abs(baseline.score(left) - system.score(right)))
                done.update(len(block))
    return [_p(np.array(out), difference) for out, difference in zip(gaps, differences, strict=True)]


def _p(statistics: Scores, difference: float) -> float:
    return float((np.sum(statistics > difference) + 1) / (len(statistics) + 1))


def permutation_p(left: Sequence[float], right: Sequence[float], seed: int | None) -> float:
    """Two-sided p of the permutation test of a difference of means, exact while its arrangements can be counted.

    The null hypothesis: the seeds of both systems are draws from one distribution of scores on this test set.
    """
    pooled, size = np.array([*left, *right]), len(left)
    if arrangements(len(left), len(right)) <= ARRANGEMENTS:
        chosen = np.array(list(combinations(range(len(pooled)), size)))
    else:
        generator = np.random.default_rng(seed)
        draws = [generator.permutation(len(pooled))[:size] for _ in range(ARRANGEMENTS)]
        chosen = np.array([range(size), *draws])  # with the one that was seen, so that p is never 0
    sums = pooled[chosen].sum(1)
    gaps = np.abs(sums / size - (pooled.sum() - sums) / len(right))
    return float(np.mean(gaps >= abs(np.mean(left) - np.mean(right)) - 1e-9))  # ties, in spite of rounding


def arrangements(left: int, right: int) -> int:
    """Ways to divide the seeds among two systems."""
    return math.comb(left + right, left)
