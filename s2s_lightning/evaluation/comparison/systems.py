"""The scores of every system by every measure, how sure they are, and how they stand to those of the first system."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

from s2s_lightning.evaluation.comparison.bootstrap import (
    Resampling,
    Scores,
    bar,
    bootstrap,
    bootstrap_p,
    interval,
    permutation_p,
    randomization_p,
)
from s2s_lightning.evaluation.comparison.measures import Measure, statistics
from s2s_lightning.evaluation.metrics import References, Statistics, Texts

Computed = list[dict[str, Statistics]]
"""Of one system: for each seed, the statistics of each measure."""


@dataclass(frozen=True)
class System:
    """The outputs of one system: one text for each item and seed."""

    name: str
    outputs: Sequence[Texts]
    files: Sequence[str] = ()


@dataclass(frozen=True)
class Result:
    """One system by one measure. None stands for what is not computed.

    Attributes:
        score: on the test set; of several seeds the mean.
        seeds: the score of each seed.
        deviation: the sample standard deviation over several seeds.
        mean: of the bootstrap's scores.
        interval: half the width of the bootstrap's 95 % interval; of one seed.
        difference: ``score`` less that of the baseline.
        difference_interval: as ``interval``, of the difference on the same resamples.
        p: two-sided, of no difference to the baseline.
        p_test: bs or ar, as sacreBLEU computes them, or permutation where a system has several seeds.
    """

    score: float
    seeds: Sequence[float]
    deviation: float | None = None
    mean: float | None = None
    interval: float | None = None
    difference: float | None = None
    difference_interval: float | None = None
    p: float | None = None
    p_test: str | None = None


@dataclass(frozen=True)
class Comparison:
    """``results[name][i]`` is system i, of which the first is the baseline, by the measure of that name."""

    measures: dict[str, Measure]
    signatures: dict[str, str]
    systems: Sequence[System]
    resampling: Resampling
    results: dict[str, list[Result]]
    statistics: Sequence[Computed]


def compare(
    systems: Sequence[System], references: References, measures: dict[str, Measure], resampling: Resampling
) -> Comparison:
    """Score the systems and test each against the first.

    Args:
        systems: at least one, each with a text for each item of the references.
        references: the right answers to each item.
        measures: what to score by.
        resampling: how intervals and p-values are computed.
    """
    computed = _statistics(systems, references, measures)
    results = {name: _scores([[seed[name] for seed in seeds] for seeds in computed]) for name in measures}
    if resampling.test != "none":
        _add_intervals(results, computed, resampling)
        _add_randomization(results, computed, resampling)
        _add_permutations(results, resampling)
    paired = len(systems) > 1
    signatures = {name: resampling.signed(computed[0][0][name].signature, paired) for name in measures}
    return Comparison(measures, signatures, systems, resampling, results, computed)


def _statistics(systems: Sequence[System], references: References, measures: dict[str, Measure]) -> list[Computed]:
    computed: list[Computed] = []
    with bar(sum(len(system.outputs) for system in systems) * len(measures), "scores", "scores") as done:
        for system in systems:
            computed.append([])
            for texts in system.outputs:
                computed[-1].append(statistics(measures, texts, references))
                done.update(len(measures))
    return computed


def _scores(systems: list[list[Statistics]]) -> list[Result]:
    results: list[Result] = []
    for seeds in systems:
        values = [seed.value() for seed in seeds]
        score = values[0] if len(values) == 1 else fmean(values)
        deviation = stdev(values) if len(values) > 1 else None
        difference = score - results[0].score if results else None
        results.append(Result(score, values, deviation, difference=difference))
    return results


def _add_intervals(results: dict[str, list[Result]], computed: list[Computed], resampling: Resampling) -> None:
    """The bootstrap of systems with one seed: intervals, and p if the test is bs."""
    single = [(name, i) for name in results for i, seeds in enumerate(computed) if len(seeds) == 1]
    if not single:
        return
    samples = bootstrap([computed[i][0][name] for name, i in single], resampling.resamples, resampling.seed)
    scores: dict[tuple[str, int], Scores] = dict(zip(single, samples, strict=True))
    for (name, i), sampled in scores.items():
        mean, half = interval(sampled)
        result = replace(results[name][i], mean=mean, interval=half)
        if i and (baseline := scores.get((name, 0))) is not None:
            result = replace(result, difference_interval=interval(sampled - baseline)[1])
            if resampling.test == "bs":
                p = bootstrap_p(baseline, sampled, abs(results[name][0].score - result.score))
                result = replace(result, p=p, p_test="bs")
        results[name][i] = result


def _add_randomization(results: dict[str, list[Result]], computed: list[Computed], resampling: Resampling) -> None:
    """P of systems with one seed by approximate randomization, if that is the test."""
    others = [i for i, seeds in enumerate(computed) if i and len(seeds) == 1]
    if resampling.test != "ar" or len(computed[0]) > 1 or not others:
        return
    places = [(name, i) for name in results for i in others]
    pairs = [(computed[0][0][name], computed[i][0][name]) for name, i in places]
    differences = [abs(results[name][0].score - results[name][i].score) for name, i in places]
    p_values = randomization_p(pairs, differences, resampling.samples, resampling.seed)
    for (name, i), p in zip(places, p_values, strict=True):
        results[name][i] = replace(results[name][i], p=p, p_test="ar")


def _add_permutations(results: dict[str, list[Result]], resampling: Resampling) -> None:
    """P where the system or the baseline has several seeds."""
    for row in results.values():
        baseline = row[0].seeds
        for i, result in enumerate(row[1:], 1):
            if len(baseline) > 1 or len(result.seeds) > 1:
                p = permutation_p(baseline, result.seeds, resampling.seed)
                row[i] = replace(result, p=p, p_test="permutation")
