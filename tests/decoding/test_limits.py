"""The lengths of outputs depend on their own source alone."""

import pytest

from s2s_lightning.decoding import Beam, Decoding, Greedy
from s2s_lightning.errors import UserError
from tests.decoding.fakes import Table, padded, sources

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
        ({"min_length_ratio": 3.0}, "ratio 3.0"),
    ],
)
def test_limits_that_leave_no_output_are_refused(setting: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Greedy(**setting)
