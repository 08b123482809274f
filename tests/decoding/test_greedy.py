"""Greedy search against a loop over one sentence, and against a beam of one."""

import pytest
import torch

from s2s_lightning import EOS
from s2s_lightning.decoding import Beam, Greedy
from tests.decoding.fakes import Table, assert_same, beam_outputs, padded, ranked, sources


@pytest.mark.parametrize("shortest", [0, 3])
def test_greedy_takes_the_best_token_at_each_step(shortest: int) -> None:
    model, rows = Table(2), sources(8)
    for row, found in zip(rows, Greedy(max_length=6, min_length=shortest)(model, *padded(rows)), strict=True):
        first = next(beam_outputs(model, row, 1, shortest, longest=6))
        assert_same(found, ranked(model, row, iter([first]), lambda n: 1.0))


@pytest.mark.parametrize("eos_bias", [-3.0, 0.0, 2.0])
def test_a_beam_of_one_is_greedy(eos_bias: float) -> None:
    model, (src, padding) = Table(3, eos_bias=eos_bias), padded(sources(20))
    for beam, greedy in zip(Beam(1)(model, src, padding), Greedy()(model, src, padding), strict=True):
        assert_same(beam, greedy)


def test_sentences_leave_the_batch_when_they_end() -> None:
    model, rows = Table(eos_bias=1.0), sources(12)
    found = Greedy(max_length=9)(model, *padded(rows))
    lengths = torch.tensor([len(h.tokens) + h.finished for (h,) in found])
    assert model.rows == [int((lengths >= step).sum()) for step in range(1, len(model.rows) + 1)]


def test_pad_and_bos_are_never_emitted_however_probable() -> None:
    model = Table()
    model.log_probs[:, :EOS] += 20
    for search in (Greedy(max_length=5), Beam(4, n_best=4, max_length=5)):
        for hypotheses in search(model, *padded(sources(4))):
            assert all(token > EOS for h in hypotheses for token in h.tokens)


@pytest.mark.parametrize("worst", [torch.nan, -torch.inf])
@pytest.mark.parametrize("columns", [slice(None), slice(EOS, None), slice(EOS, EOS + 1), slice(EOS + 1, None)])
@pytest.mark.parametrize("rows", [slice(None), slice(None, None, 3)])
def test_a_diverged_network_still_gives_each_sentence_a_hypothesis(worst: float, columns: slice, rows: slice) -> None:
    for search in (Greedy(max_length=5), Beam(4, max_length=5), Beam(4, n_best=4, max_length=5, min_length=2)):
        model = Table()
        model.log_probs[rows, columns] = worst
        found = search(model, *padded(sources(4)))
        assert [len(hypotheses) >= 1 for hypotheses in found] == [True] * 4
        assert len(model.rows) <= 5
