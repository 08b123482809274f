"""Differences of systems by length, and the sentences in which they differ."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

import numpy as np

from s2s_lightning.evaluation.comparison.systems import Comparison, System
from s2s_lightning.evaluation.metrics import ChrF, References


@dataclass(frozen=True)
class Bucket:
    """Items of lengths from ``shortest`` to ``longest``; ``scores[name][i]`` is system i's, the mean over its seeds."""

    shortest: int
    longest: int
    items: int
    scores: dict[str, list[float]]


def by_length(comparison: Comparison, lengths: Sequence[int], buckets: int) -> list[Bucket]:
    """Scores of at most ``buckets`` ranges of lengths, with as equal numbers of items as whole lengths allow."""
    array = np.array(lengths)
    shares = np.arange(1, buckets + 1) / buckets
    bounds = np.unique(np.quantile(array, shares, method="inverted_cdf"))
    place = np.searchsorted(bounds, array)  # bounds[place - 1] < length <= bounds[place]
    return [_bucket(comparison, array, np.flatnonzero(place == bucket).tolist()) for bucket in range(len(bounds))]


def _bucket(comparison: Comparison, lengths: "np.ndarray[tuple[int], np.dtype[np.int_]]", items: list[int]) -> Bucket:
    scores = {
        name: [fmean(seed[name].value(items) for seed in seeds) for seeds in comparison.statistics]
        for name in comparison.measures
    }
    return Bucket(int(lengths[items].min()), int(lengths[items].max()), len(items), scores)


class Difference(NamedTuple):
    """An item, and the chrF of each system's output for it."""

    item: int
    chrf: list[float]

    @property
    def spread(self) -> float:
        return max(self.chrf) - min(self.chrf)


def differences(systems: Sequence[System], references: References, most: int) -> list[Difference]:
    """The items at which the systems' sentence chrF lies furthest apart, the furthest first; equal ones are left out.

    Of a system with several seeds the first counts.
    """
    scores = []
    for system in systems:
        chrf = ChrF().statistics(system.outputs[0], references)["chrf"]
        scores.append([float(chrf.score(row)) for row in chrf.rows])
    found = [Difference(item, list(each)) for item, each in enumerate(zip(*scores, strict=True))]
    return sorted((each for each in found if each.spread), key=lambda each: -each.spread)[:most]
