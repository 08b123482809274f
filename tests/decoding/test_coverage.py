"""The coverage penalty, recomputed from the attention of force-decoding."""

import math
from collections.abc import Callable
from functools import cache

import pytest
import torch

from s2s_lightning import BOS
from s2s_lightning.decoding import GNMT, Average, Beam, LengthPenalty
from s2s_lightning.decoding.coverage_penalty import FLOOR, Coverage
from s2s_lightning.errors import UserError
from tests.decoding import slow
from tests.decoding.fakes import Table, assert_same, padded, sources
from tests.decoding.slow import Book, Found
from tests.decoding.test_laws import gru

MODEL = gru()
LIMITS = {"max_length": 3, "max_length_ratio": 9}
BOOK = Book(longest=3)

PENALTIES: list[tuple[LengthPenalty, Callable[[int], float]]] = [
    (Average(), float),
    (GNMT(0.6), lambda n: ((5 + n) / 6) ** 0.6),
]
each = pytest.mark.parametrize(("penalty", "divisor"), PENALTIES, ids=lambda x: type(x).__name__)
strengths = pytest.mark.parametrize("beta", [0.2, 5.0])


@cache
def coverage(src: tuple[int, ...], emitted: tuple[int, ...]) -> float:
    """Sum over the source of log min(1, the attention that it got while this was emitted)."""
    with torch.no_grad():
        state, total = MODEL.start(*padded([src])), torch.zeros(len(src))
        for token in (BOS, *emitted[:-1]):
            step = MODEL.step(torch.tensor([[token]]), state, need_weights=True)
            assert step.attention is not None
            state, total = step.state, total + step.attention[0].mean((0, 1))[0]
    return sum(math.log(min(1.0, max(FLOOR, x))) for x in total.tolist())


def scored(row: list[int], divisor: Callable[[int], float], beta: float) -> Callable[[Found], float]:
    return lambda f: f.total / divisor(len(f.emitted)) + beta * coverage(tuple(row), f.emitted)


@each
@strengths
def test_a_beam_as_wide_as_the_search_space_finds_the_best_with_coverage(
    penalty: LengthPenalty, divisor: Callable[[int], float], beta: float
) -> None:
    rows = sources(3)
    beam = Beam(5**3, n_best=4, length_penalty=penalty, coverage_penalty=beta, **LIMITS)
    for row, found in zip(rows, beam(MODEL, *padded(rows)), strict=True):
        assert_same(found, slow.best(slow.every_output(MODEL, row, BOOK), scored(row, divisor, beta))[:4])


@each
@strengths
@pytest.mark.parametrize(("width", "n_best"), [(1, 1), (3, 1), (3, 3)])
def test_stopping_early_changes_nothing_with_coverage(
    penalty: LengthPenalty, divisor: Callable[[int], float], beta: float, width: int, n_best: int
) -> None:
    rows, limits = sources(10), {"max_length": 5, "max_length_ratio": 9}
    beam = Beam(width, n_best=n_best, length_penalty=penalty, coverage_penalty=beta, **limits)
    for row, found in zip(rows, beam(MODEL, *padded(rows)), strict=True):
        assert_same(found, slow.best(slow.beam(MODEL, row, Book(), width), scored(row, divisor, beta))[:n_best])


def test_coverage_changes_what_is_found() -> None:
    """Or the tests above would prove nothing."""
    rows = padded(sources(6))
    plain, covered = (Beam(9, coverage_penalty=beta, **LIMITS)(MODEL, *rows) for beta in (0.0, 5.0))
    assert [best.tokens for best, *_ in plain] != [best.tokens for best, *_ in covered]


def test_coverage_is_that_of_its_sentence_in_any_batch() -> None:
    rows, beam = sources(9), Beam(3, n_best=3, coverage_penalty=0.7, max_length_ratio=0.5, max_length_offset=3)
    together, backwards = beam(MODEL, *padded(rows)), beam(MODEL, *padded(rows[::-1], extra=4))[::-1]
    for row, found, other in zip(rows, together, backwards, strict=True):
        assert_same(found, other)
        assert_same(found, beam(MODEL, *padded([row]))[0])


def test_what_got_no_attention_at_all_costs_a_finite_amount() -> None:
    nothing = Coverage.begin(torch.tensor([[False, False, True]])).penalty()
    assert nothing.item() == pytest.approx(2 * math.log(FLOOR))


def test_a_model_without_attention_is_refused() -> None:
    with pytest.raises(UserError, match="coverage_penalty needs a model with attention"):
        Beam(2, coverage_penalty=0.1)(Table(), *padded(sources(2)))


def test_a_negative_coverage_penalty_is_refused() -> None:
    with pytest.raises(UserError, match=r"coverage_penalty=-0\.1"):
        Beam(2, coverage_penalty=-0.1)
