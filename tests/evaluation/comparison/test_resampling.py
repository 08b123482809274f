"""Law 20: intervals and p-values are those of sacreBLEU, to the last digit, and own metrics take the same path."""

import itertools
from collections.abc import Sequence
from statistics import fmean

import numpy as np
import pytest
from sacrebleu.metrics.base import Metric
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER
from sacrebleu.significance import PairedTest

from s2s_lightning.evaluation.comparison import Measure, Resampling, System, choose, compare
from s2s_lightning.evaluation.comparison.bootstrap import Test, permutation_p
from s2s_lightning.evaluation.metrics import References, Statistics, SummedMetric, Texts
from tests.evaluation.comparison.texts import noisy, references

RIGHT = [references(), noisy(references(), 0.1, 7), noisy(references(), 0.2, 8)]
ITEMS = list(zip(*RIGHT, strict=True))
SYSTEMS = [
    System(name, [noisy(RIGHT[0], rate, seed)])
    for seed, (name, rate) in enumerate([("x", 0.4), ("y", 0.35), ("z", 0.2)])
]
SACRE: dict[str, Metric] = {"bleu": BLEU(force=True), "chrf": CHRF(), "chrf++": CHRF(word_order=2), "ter": TER()}


def of_sacrebleu(test: str, samples: int, seed: int, **options: int) -> tuple[dict[str, str], dict[str, list[object]]]:
    """Its signatures and results, by our names."""
    named = [(system.name, system.outputs[0]) for system in SYSTEMS]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SACREBLEU_SEED", str(seed))
        paired = PairedTest(named, SACRE, RIGHT, test, samples, **options)
        signatures, results = paired()
    titles = dict(zip(paired.metrics, SACRE, strict=True))
    return {titles[t]: str(s) for t, s in signatures.items()}, {titles[t]: results[t] for t in titles}


@pytest.mark.parametrize("seed", [12345, 7])
def test_the_paired_bootstrap_is_that_of_sacrebleu_to_the_digit(seed: int) -> None:
    signatures, expected = of_sacrebleu("bs", 120, seed)
    ours = compare(SYSTEMS, ITEMS, choose(SACRE), Resampling("bs", 120, seed))
    assert ours.signatures == signatures
    for name, results in ours.results.items():
        for result, theirs in zip(results, expected[name], strict=True):
            assert (result.score, result.p) == (theirs.score, theirs.p_value)
            assert (result.mean, result.interval) == (float(theirs.mean), float(theirs.ci))


def test_approximate_randomization_is_that_of_sacrebleu_to_the_digit() -> None:
    signatures, expected = of_sacrebleu("ar", 150, 7, n_ar_confidence=0)
    ours = compare(SYSTEMS, ITEMS, choose(SACRE), Resampling("ar", 150, 7))
    assert ours.signatures == signatures
    for name, results in ours.results.items():
        assert [(r.score, r.p) for r in results] == [(theirs.score, theirs.p_value) for theirs in expected[name]]


def test_the_interval_of_one_system_is_that_of_sacrebleu_with_confidence() -> None:
    ours = compare(SYSTEMS[2:], ITEMS, choose(SACRE), Resampling("ar", 5, 12345))
    for name, metric in SACRE.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("SACREBLEU_SEED", raising=False)
            theirs = metric.corpus_score(SYSTEMS[2].outputs[0], RIGHT, n_bootstrap=1000)
        assert ours.signatures[name] == str(metric.get_signature())
        (result,) = ours.results[name]
        assert result.interval == float(theirs._ci)


class OwnBLEU(SummedMetric):
    """BLEU up to pairs of words, from its definition: counts of n-grams that are right, n-grams, and lengths."""

    def statistics(self, hypotheses: Texts, references: References) -> dict[str, Statistics]:
        rows = [self.row(text.split(), right.split()) for text, (right, *_) in zip(hypotheses, references, strict=True)]
        return {"own": Statistics(rows, self.score, "nrefs:1|own")}

    @staticmethod
    def row(said: list[str], right: list[str]) -> list[float]:
        def grams(words: list[str], n: int) -> list[tuple[str, ...]]:
            return list(zip(*(words[start:] for start in range(n)), strict=False))

        def hits(n: int) -> int:
            left, other = grams(said, n), grams(right, n)
            return sum(min(left.count(gram), other.count(gram)) for gram in set(left))

        return [len(said), len(right), *map(hits, (1, 2)), *(len(grams(said, n)) for n in (1, 2))]

    @staticmethod
    def score(sums: Sequence[float]) -> float:
        said, right, hit_1, hit_2, all_1, all_2 = map(float, sums)
        return 100 * min(1, np.exp(1 - right / said)) * (hit_1 / all_1 * hit_2 / all_2) ** 0.5


@pytest.mark.parametrize("test", ["bs", "ar"])
def test_an_own_metric_through_the_same_path_has_the_p_values_of_sacrebleu(test: Test) -> None:
    named = [(system.name, system.outputs[0]) for system in SYSTEMS]
    sacre = BLEU(force=True, tokenize="none", max_ngram_order=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SACREBLEU_SEED", "5")
        _, expected = PairedTest(named, {"BLEU": sacre}, RIGHT[:1], test, 200)()
    measures = {"own": Measure("own", OwnBLEU(), "own")}
    ours = compare(SYSTEMS, list(zip(RIGHT[0], strict=True)), measures, Resampling(test, 200, 5)).results["own"]
    assert [result.p for result in ours] == [result.p_value for result in expected["BLEU"]]
    assert [result.score for result in ours] == pytest.approx([result.score for result in expected["BLEU"]], abs=1e-9)


def test_a_system_against_itself_differs_by_chance_alone() -> None:
    twin = System("twin", SYSTEMS[0].outputs)
    for test in ("bs", "ar"):
        results = compare([SYSTEMS[0], twin], ITEMS, choose(["all"]), Resampling(test, 50)).results
        for _, result in results.values():
            assert result.difference == result.difference_interval == 0
            assert result.p == 1 / 51  # sacreBLEU's own answer: no sample differs by more than nothing


def test_the_interval_of_a_difference_knows_that_the_systems_share_their_items() -> None:
    almost = System("almost", [[*SYSTEMS[0].outputs[0][:-1], "nothing of it"]])
    (base, result) = compare([SYSTEMS[0], almost], ITEMS, choose(["chrf"]), Resampling("bs", 100)).results["chrf"]
    assert result.difference_interval is not None
    assert base.interval is not None
    assert result.difference_interval < base.interval / 2


def test_without_a_test_there_are_scores_alone() -> None:
    ours = compare(SYSTEMS, ITEMS, choose(SACRE), Resampling("none", 0))
    for name, results in ours.results.items():
        assert [r.score for r in results] == [SACRE[name].corpus_score(s.outputs[0], RIGHT).score for s in SYSTEMS]
        assert {(r.p, r.interval, r.mean) for r in results} == {(None, None, None)}
        assert "bs:" not in ours.signatures[name]


def test_several_seeds_are_tested_by_every_arrangement_of_their_scores() -> None:
    left, right = [20.0, 21.5, 20.7], [21.0, 22.0, 23.5, 22.2]
    gap = abs(fmean(left) - fmean(right))
    as_far = [
        abs(fmean(chosen[:3]) - fmean(chosen[3:])) >= gap - 1e-12 for chosen in itertools.permutations([*left, *right])
    ]
    assert permutation_p(left, right, None) == pytest.approx(fmean(as_far), abs=1e-12)
    assert permutation_p([1, 2, 3], [4, 5, 6], None) == pytest.approx(2 / 20)


def test_more_arrangements_than_can_be_counted_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    left, right = draw.normal(0, 1, 6).tolist(), draw.normal(1, 1, 6).tolist()
    exact = permutation_p(left, right, 1)
    monkeypatch.setattr("s2s_lightning.evaluation.comparison.bootstrap.ARRANGEMENTS", 900)  # of 924
    drawn = permutation_p(left, right, 1)
    assert drawn != exact
    assert abs(drawn - exact) < 4 * (exact * (1 - exact) / 900) ** 0.5


def test_seeds_give_mean_and_sample_deviation_and_one_seed_what_it_gives_alone() -> None:
    seeds = System("seeds", [system.outputs[0] for system in SYSTEMS])
    row = compare([SYSTEMS[0], SYSTEMS[1], seeds], ITEMS, choose(["bleu"]), Resampling("bs", 40)).results["bleu"]
    alone = compare(SYSTEMS, ITEMS, choose(["bleu"]), Resampling("bs", 40)).results["bleu"]
    assert row[:2] == alone[:2]
    assert list(row[2].seeds) == [result.score for result in alone]
    assert row[2].score == pytest.approx(np.mean(row[2].seeds))
    assert row[2].deviation == pytest.approx(np.std(row[2].seeds, ddof=1))
    assert row[2].p_test == "permutation"
    assert row[2].p == permutation_p(row[0].seeds, row[2].seeds, None)
