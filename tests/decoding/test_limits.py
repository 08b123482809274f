"""The lengths of outputs depend on their own source alone."""

import math

import pytest
import torch

from s2s_lightning.decoding import GNMT, Beam, Decoding, Greedy, Power
from s2s_lightning.decoding.search import Lengths
from s2s_lightning.errors import UserError
from tests.decoding.fakes import Table, padded, sources, tools

ENDLESS, EAGER = -40.0, 40.0
"""Biases of EOS: a model that never ends, one that always does."""

searches = pytest.mark.parametrize("search", [Greedy, Beam])


def lengths(search: Decoding, rows: list[list[int]], eos_bias: float) -> list[int]:
    """Tokens of each best output, EOS counted."""
    return [len(best.tokens) + best.finished for best, *_ in search(Table(eos_bias=eos_bias), *padded(rows, extra=3))]


@searches
def test_an_endless_output_is_cut_at_the_ratio_of_its_own_source(search: type[Greedy | Beam]) -> None:
    rows = sources(6)
    expected = [int(1.5 * len(row)) + 2 for row in rows]
    assert lengths(search(max_length_ratio=1.5, max_length_offset=2), rows, ENDLESS) == expected


@searches
def test_the_absolute_maximum_cuts_what_the_ratio_allows(search: type[Greedy | Beam]) -> None:
    assert lengths(search(max_length=4, max_length_ratio=float("inf")), sources(6), ENDLESS) == [4] * 6


@searches
def test_an_eager_output_has_the_minimum_of_its_own_source(search: type[Greedy | Beam]) -> None:
    rows = sources(6)
    expected = [max(3, -(-3 * len(row) // 2)) for row in rows]
    assert lengths(search(min_length=3, min_length_ratio=1.5), rows, EAGER) == expected


@searches
def test_what_is_cut_is_not_finished(search: type[Greedy | Beam]) -> None:
    (found,) = search(max_length=4)(Table(eos_bias=ENDLESS), *padded(sources(1)))
    assert not found[0].finished
    (found,) = search(max_length=4)(Table(eos_bias=EAGER), *padded(sources(1)))
    assert found[0].finished


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"max_length": 0}, "max_length 0"),
        ({"max_length_offset": 0}, "max_length_offset 0"),
        ({"min_length": 9, "max_length": 8}, "min_length 9"),
        ({"min_length_ratio": 3.0, "max_length_ratio": 2.0}, "ratio 3.0"),
    ],
)
def test_limits_that_leave_no_output_are_refused(setting: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Greedy(**setting)


def test_the_longest_targets_of_training_and_wide_room_bound_an_output() -> None:
    """Twice the longest target of training for a source of the length, and 10; in proportion beyond its longest."""
    decoding = Greedy()
    decoding.attach(tools(lengths=lambda: Lengths((2, 4), (9, 20), 5)))
    padding = torch.arange(9) >= torch.arange(1, 9).unsqueeze(1)
    expected = [2 * 9 + 10] * 3 + [2 * 20 + 10] * 2 + [int(2 * 20 * s / 5) + 10 for s in (6, 7, 8)]
    assert decoding.limits(padding).longest.tolist() == expected


@searches
def test_the_lengths_of_training_never_lower_the_maximum_and_an_option_replaces_them(
    search: type[Greedy | Beam],
) -> None:
    rows = sources(4)
    short = tools(lengths=lambda: Lengths((1,), (1,), 9))
    for settings, expected in (({}, [2 * len(row) + 10 for row in rows]), ({"max_length": 7}, [7] * 4)):
        decoding = search(**settings)
        decoding.attach(short)
        assert lengths(decoding, rows, ENDLESS) == expected


@searches
def test_a_minimum_above_the_maximum_raises_it(search: type[Greedy | Beam]) -> None:
    assert lengths(search(min_length=40), sources(3), EAGER) == [40] * 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in ("max_length_ratio", "min_length_ratio", "min_length") for value in (-1, math.nan)),
        *((name, math.inf) for name in ("max_length", "max_length_offset", "min_length", "min_length_ratio")),
        *(("repetition_penalty", value) for value in (0.0, math.nan, math.inf)),
    ],
)
def test_a_number_that_is_no_length_or_penalty_is_refused(name: str, value: float) -> None:
    with pytest.raises(UserError, match=name):
        Greedy(**{name: value})


@pytest.mark.parametrize("alpha", [-0.1, math.nan, math.inf])
@pytest.mark.parametrize("penalty", [Power, GNMT])
def test_a_penalty_that_could_fall_is_refused(penalty: type[Power | GNMT], alpha: float) -> None:
    with pytest.raises(UserError, match="alpha"):
        penalty(alpha)
