"""Beam search against brute force, against a slow search that never stops early, and against itself."""

from collections.abc import Callable

import pytest
import torch

from s2s_lightning.decoding import Average, Beam, LengthPenalty
from s2s_lightning.errors import UserError
from tests.decoding.fakes import (
    PENALTIES,
    WORDS,
    Table,
    all_outputs,
    assert_same,
    beam_outputs,
    padded,
    ranked,
    sources,
)

each_penalty = pytest.mark.parametrize(("penalty", "divisor"), PENALTIES, ids=lambda x: type(x).__name__)


@each_penalty
@pytest.mark.parametrize("shortest", [0, 3])
def test_a_beam_as_wide_as_the_search_space_finds_its_n_best(
    penalty: LengthPenalty, divisor: Callable[[int], float], shortest: int
) -> None:
    longest, rows = 4, sources(3)
    beam = Beam(len(WORDS) ** longest, n_best=7, length_penalty=penalty, max_length=longest, min_length=shortest)
    for row, found in zip(rows, beam(Table(), *padded(rows)), strict=True):
        assert_same(found, ranked(Table(), row, all_outputs(shortest, longest), divisor)[:7])


@each_penalty
@pytest.mark.parametrize(("beam_size", "n_best"), [(1, 1), (2, 1), (3, 3), (9, 4)])
@pytest.mark.parametrize("eos_bias", [-2.0, 1.0])
def test_stopping_early_changes_nothing(
    penalty: LengthPenalty, divisor: Callable[[int], float], beam_size: int, n_best: int, eos_bias: float
) -> None:
    model, rows = Table(1, eos_bias=eos_bias), sources(3, seed=1)
    beam = Beam(beam_size, n_best=n_best, length_penalty=penalty, max_length=6, min_length=2)
    for row, found in zip(rows, beam(model, *padded(rows)), strict=True):
        outputs = beam_outputs(model, row, beam_size, shortest=2, longest=6)
        assert_same(found, ranked(model, row, outputs, divisor)[:n_best])


@each_penalty
@pytest.mark.parametrize(("beam_size", "n_best"), [(1, 1), (4, 1), (3, 3)])
@pytest.mark.parametrize("patience", [0.1, 1.0, 2.0])
def test_a_search_is_over_when_its_patience_is(
    penalty: LengthPenalty, divisor: Callable[[int], float], beam_size: int, n_best: int, patience: float
) -> None:
    model, rows = Table(2), sources(4, seed=2)
    beam = Beam(beam_size, n_best=n_best, length_penalty=penalty, patience=patience, max_length=7)
    for row, found in zip(rows, beam(model, *padded(rows)), strict=True):
        outputs = beam_outputs(model, row, beam_size, 0, 7, enough=max(n_best, patience * beam_size))
        assert_same(found, ranked(model, row, outputs, divisor)[:n_best])


def test_a_patience_of_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="patience 0 must be above 0"):
        Beam(patience=0)


def test_a_search_stops_when_nothing_live_can_win() -> None:
    model = Table(eos_bias=12.0)
    Beam(3, max_length=50)(model, *padded(sources(4)))
    assert len(model.rows) <= 2


def test_a_search_goes_on_while_a_longer_output_can_win() -> None:
    """After an output with average f, a live log-probability x may still become an average of x / 50."""
    model = Table(eos_bias=3.0)
    found = Beam(3, length_penalty=Average(), max_length=50)(model, *padded(sources(1)))
    assert len(found[0][0].tokens) + 1 < len(model.rows) < 50


def test_sources_are_read_once_and_the_beam_opens_at_the_first_step() -> None:
    model = Table(eos_bias=-40.0)
    Beam(2, max_length=5)(model, *padded(sources(3)))
    assert model.starts == 1
    assert model.rows == [3, 6, 6, 6, 6]


def test_sentences_leave_the_batch_when_they_are_over() -> None:
    model, rows = Table(eos_bias=2.0), sources(12)
    Beam(2, max_length=9)(model, *padded(rows))
    assert model.rows[1:] == sorted(model.rows[1:], reverse=True)
    assert model.rows[-1] < 24


def test_the_state_is_not_moved_when_each_hypothesis_follows_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s2s_lightning.decoding.beam.reorder", lambda *_: pytest.fail("moved"))
    Beam(1, max_length=5)(Table(eos_bias=-20.0), *padded(sources(3)))


def test_a_beam_wider_than_the_vocabulary_holds_no_hypothesis_twice() -> None:
    model, rows = Table(), sources(4)
    for hypotheses in Beam(50, n_best=50, max_length=5)(model, *padded(rows)):
        outputs = [(tuple(h.tokens), h.finished) for h in hypotheses]
        assert len(outputs) == len(set(outputs)) == 50


def test_fewer_than_n_best_are_returned_when_there_are_no_more() -> None:
    """Two tokens at most, over three words: EOS, three words and EOS, nine pairs of words that are cut."""
    (found,) = Beam(50, n_best=50, max_length=2)(Table(), *padded(sources(1)))
    assert len(found) == 13


def test_a_vocabulary_of_one_word_is_searched() -> None:
    for hypotheses in Beam(9, n_best=9, max_length=3)(Table(vocab=4), *padded(sources(2))):
        assert sorted(h.tokens for h in hypotheses) == [[], [3], [3, 3], [3, 3, 3]]


def test_single_precision_ranks_like_double() -> None:
    model, single, rows = Table(), Table(), sources(6)
    single.log_probs = single.log_probs.float()
    beam = Beam(4, n_best=2, max_length=6, length_penalty=Average())
    for found, expected in zip(beam(single, *padded(rows)), beam(model, *padded(rows)), strict=True):
        assert_same(found, expected, tolerance=1e-5)


def test_probabilities_of_zero_are_never_chosen() -> None:
    model = Table()
    model.log_probs[:, 4:] = -torch.inf
    for hypotheses in Beam(4, n_best=4, max_length=3)(model, *padded(sources(3))):
        assert all(set(h.tokens) <= {3} and h.log_prob > -torch.inf for h in hypotheses)


@pytest.mark.parametrize("n_best", [0, 4])
def test_n_best_beyond_the_beam_is_refused(n_best: int) -> None:
    with pytest.raises(UserError, match=f"n_best {n_best} "):
        Beam(3, n_best=n_best)


def test_a_penalty_that_falls_with_length_is_refused() -> None:
    with pytest.raises(UserError, match=r"alpha -0\.5"):
        type(PENALTIES[4][0])(-0.5)
