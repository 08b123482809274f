"""Where systems differ."""

import itertools
from statistics import fmean

import pytest
import sacrebleu

from s2s_lightning.evaluation.comparison import Resampling, System, by_length, choose, compare, differences
from tests.evaluation.comparison.texts import LINES, noisy, references

RIGHT = references()
ITEMS = [(right,) for right in RIGHT]
SYSTEMS = [System("x", [noisy(RIGHT, 0.4, 1)]), System("y", [noisy(RIGHT, 0.2, 2), noisy(RIGHT, 0.2, 3)])]
LENGTHS = [len(right.split()) for right in RIGHT]
COMPARISON = compare(SYSTEMS, ITEMS, choose(["all"]), Resampling("none", 0))


@pytest.mark.parametrize("buckets", [1, 3, 100])
def test_ranges_of_length_part_the_lines_in_order(buckets: int) -> None:
    found = by_length(COMPARISON, LENGTHS, buckets)
    assert len(found) <= buckets
    assert sum(bucket.items for bucket in found) == LINES
    assert all(left.longest < right.shortest for left, right in itertools.pairwise(found))
    assert {length for b in found for length in (b.shortest, b.longest)} <= set(LENGTHS)


def test_ranges_hold_as_equal_numbers_of_lines_as_lengths_allow() -> None:
    assert [bucket.items for bucket in by_length(COMPARISON, list(range(LINES)), 3)] == [LINES // 3] * 3
    (all_equal,) = by_length(COMPARISON, [5] * LINES, 3)
    assert (all_equal.shortest, all_equal.longest) == (5, 5)


def test_a_range_has_the_scores_of_its_lines_as_a_corpus() -> None:
    for bucket in by_length(COMPARISON, LENGTHS, 3):
        inside = [i for i, length in enumerate(LENGTHS) if bucket.shortest <= length <= bucket.longest]
        right = [[RIGHT[i] for i in inside]]

        def of_sacrebleu(texts: list[str], inside: list[int] = inside, right: list[list[str]] = right) -> float:
            return sacrebleu.corpus_bleu([texts[i] for i in inside], right, force=True).score

        expected = [fmean(of_sacrebleu(list(seed)) for seed in system.outputs) for system in SYSTEMS]
        assert bucket.scores["bleu"] == expected


def test_one_range_has_the_scores_of_the_whole() -> None:
    (whole,) = by_length(COMPARISON, LENGTHS, 1)
    assert whole.scores == {name: [result.score for result in row] for name, row in COMPARISON.results.items()}


def test_differences_are_the_lines_with_the_widest_spread_of_sentence_chrf() -> None:
    def chrf(system: System, line: int) -> float:
        return sacrebleu.sentence_chrf(system.outputs[0][line], [RIGHT[line]]).score

    spread = {line: abs(chrf(SYSTEMS[0], line) - chrf(SYSTEMS[1], line)) for line in range(LINES)}
    found = differences(SYSTEMS, ITEMS, 10)
    assert [each.item for each in found] == sorted(spread, key=lambda line: -spread[line])[:10]
    assert [each.chrf for each in found] == [[chrf(system, each.item) for system in SYSTEMS] for each in found]


def test_equal_lines_are_no_difference() -> None:
    same = System("same", [[*SYSTEMS[0].outputs[0][:-1], "something else"]])
    assert [each.item for each in differences([SYSTEMS[0], same], ITEMS, 10)] == [LINES - 1]
