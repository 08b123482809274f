"""Diverse beam search against plain Python and against Beam."""

from itertools import product

import pytest
import torch

from s2s_lightning.decoding import Average, Beam, Demands, DiverseBeam
from s2s_lightning.errors import UserError
from tests.decoding import slow
from tests.decoding.fakes import Table, assert_same, padded, sources
from tests.decoding.slow import Book, Found

MODEL = Table(2)
LIMITS = {"max_length": 5, "max_length_ratio": 9}


def average(found: Found) -> float:
    return found.total / len(found.emitted)


def distinct(groups: list[list[Found]], width: int) -> list[Found]:
    """The best of each group, once each."""
    best = (sorted(group, key=average, reverse=True)[:width] for group in groups)
    return list({found.emitted: found for group in best for found in group}.values())


@pytest.mark.parametrize(("count", "width", "ngram"), [(1, 3, 3), (2, 2, 3), (3, 1, 2), (4, 5, 3), (3, 3, 1)])
@pytest.mark.parametrize("strength", [0.0, 0.5, 3.0])
@pytest.mark.parametrize("eos_bias", [0.0, 2.0])
def test_groups_are_those_of_the_slow_search(
    count: int, width: int, ngram: int, strength: float, eos_bias: float
) -> None:
    model, rows, size = Table(4, eos_bias=eos_bias), sources(4), count * width
    settings = {"num_groups": count, "n_best": size, "length_penalty": Average(), "no_repeat_ngram": ngram}
    search = DiverseBeam(size, diversity_strength=strength, **settings, **LIMITS)  # type: ignore[arg-type]
    for row, found in zip(rows, search(model, *padded(rows)), strict=True):
        groups = slow.diverse_beam(model, row, Book(ngram=ngram), (count, width, strength))
        assert_same(found, slow.best(distinct(groups, width), average))


@pytest.mark.parametrize("strength", [0.5, 0.0])
@pytest.mark.parametrize("settings", [{}, {"length_penalty": Average(), "min_length": 3, "repetition_penalty": 1.4}])
def test_one_group_is_beam_search(strength: float, settings: dict[str, object]) -> None:
    model, source = Table(5), padded(sources(6))
    one = DiverseBeam(4, num_groups=1, diversity_strength=strength, n_best=3, **settings, **LIMITS)(model, *source)
    for found, expected in zip(one, Beam(4, n_best=3, **settings, **LIMITS)(model, *source), strict=True):  # type: ignore[arg-type]
        assert_same(found, expected)


def test_without_diversity_each_group_is_a_beam_of_its_width() -> None:
    model, source = Table(6), padded(sources(6))
    groups = DiverseBeam(6, num_groups=3, diversity_strength=0.0, n_best=6, **LIMITS)(model, *source)
    for found, expected in zip(groups, Beam(2, n_best=2, **LIMITS)(model, *source), strict=True):
        assert_same(found, expected)


def test_much_diversity_gives_each_group_another_first_word() -> None:
    model, rows = Table(7, eos_bias=-9.0), sources(5)
    for found in DiverseBeam(3, num_groups=3, diversity_strength=50.0, n_best=3, **LIMITS)(model, *padded(rows)):
        assert len({h.tokens[0] for h in found}) == 3


def test_the_source_is_read_once_and_all_groups_take_a_step_together() -> None:
    model = Table(eos_bias=-40.0)
    DiverseBeam(6, num_groups=3, **LIMITS)(model, *padded(sources(2)))
    assert model.starts == 1
    assert model.rows == [6, 12, 12, 12, 12]


def test_prefixes_are_forced_in_each_group() -> None:
    rows, prefixes = sources(3), torch.tensor([[4, 4], [5, 0], [0, 0]])
    search = DiverseBeam(4, num_groups=2, n_best=4, **LIMITS)
    for row, prefix, found in zip(rows, prefixes, search(MODEL, *padded(rows), demands=Demands(prefixes)), strict=True):
        words = tuple(prefix[prefix > 0].tolist())
        groups = slow.diverse_beam(MODEL, row, Book(prefix=words), (2, 2, 0.5))
        best = [found for group in groups for found in sorted(group, key=lambda f: -f.total)[:2]]
        assert_same(found, slow.best(list({f.emitted: f for f in best}.values())))


def test_a_group_that_has_come_to_an_end_steers_no_other() -> None:
    model, rows = Table(2), sources(8)
    model.log_probs[::3, 3:] = -torch.inf  # nothing but EOS may follow
    search = DiverseBeam(4, num_groups=4, n_best=4, diversity_strength=2.0, **LIMITS)
    for row, found in zip(rows, search(model, *padded(rows)), strict=True):
        groups = slow.diverse_beam(model, row, Book(), (4, 1, 2.0))
        best = [max(group, key=lambda f: f.total) for group in groups if group]
        assert_same(found, slow.best(list({f.emitted: f for f in best}.values())))


def test_fewer_are_returned_when_they_are_asked_for() -> None:
    source = padded(sources(5))
    few, all_ = (DiverseBeam(6, num_groups=3, n_best=n, **LIMITS)(MODEL, *source) for n in (2, 6))
    assert [len(found) for found in few] == [2] * 5
    for one, other in zip(few, all_, strict=True):
        assert one[0] == other[0]


@pytest.mark.parametrize("worst", [torch.nan, -torch.inf])
def test_a_diverged_network_still_gives_each_sentence_a_hypothesis(worst: float) -> None:
    for rows, columns in product((slice(None), slice(None, None, 3)), (slice(None), slice(3, None))):
        model = Table()
        model.log_probs[rows, columns] = worst
        assert all(DiverseBeam(4, num_groups=2, **LIMITS)(model, *padded(sources(3))))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_groups": 4}, "multiple of num_groups 4"),
        ({"num_groups": 0}, "num_groups=0"),
        ({"n_best": 7}, "n_best 7"),
        ({"diversity_strength": -1.0}, "diversity_strength=-1"),
    ],
)
def test_groups_that_make_no_sense_are_refused(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        DiverseBeam(6, **wrong)  # type: ignore[arg-type]
