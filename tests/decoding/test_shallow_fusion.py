"""Shallow fusion against force-decoding of the model and of the language model."""

from collections.abc import Callable

import pytest
import torch

from s2s_lightning import EOS, UNK
from s2s_lightning.decoding import Average, Beam, Decoding, Ensemble, Greedy, LengthPenalty, NoPenalty, ShallowFusion
from s2s_lightning.errors import UserError
from s2s_lightning.model import Seq2Seq
from tests.decoding.fakes import Table, all_outputs, assert_same, forced, padded, sources, tools
from tests.decoding.test_laws import TIGHT, gru

V = 8
"""Of ``gru``, which is the language model here."""


def fusion(search: Decoding, weight: float = 0.7) -> ShallowFusion:
    fused = ShallowFusion("lm.ckpt", weight=weight, search=search)
    fused.attach(tools(language_model=lambda _: gru(), network=lambda _: gru()))
    return fused


def says(language_model: Seq2Seq, emitted: list[int]) -> float:
    """The language model's log-probability, in which a copied word is UNK."""
    return sum(forced(language_model, [EOS], [i if i < V else UNK for i in emitted]))


@pytest.mark.parametrize("vocab", [V, V + 3], ids=["words", "words and copies"])
@pytest.mark.parametrize(("penalty", "divisor"), [(NoPenalty(), lambda n: 1.0), (Average(), float)])
def test_the_score_is_made_of_the_log_probabilities_of_both(
    vocab: int, penalty: LengthPenalty, divisor: Callable[[int], float]
) -> None:
    model, rows = Table(1, vocab=vocab), sources(8)
    found = fusion(Beam(4, n_best=3, length_penalty=penalty, **TIGHT))(model, *padded(rows))
    for row, hypotheses in zip(rows, found, strict=True):
        for h in hypotheses:
            emitted = [*h.tokens, *[EOS] * h.finished]
            log_prob = sum(forced(model, row, emitted))
            assert h.log_prob == pytest.approx(log_prob, abs=1e-9)
            assert h.score == pytest.approx((log_prob + 0.7 * says(gru(), emitted)) / divisor(len(emitted)), abs=1e-9)
    assert vocab == V or any(token >= V for (h, *_) in found for token in h.tokens)


def test_a_beam_as_wide_as_the_search_space_finds_the_best_of_both() -> None:
    model, rows = Table(2), sources(2)
    found = fusion(Beam(81, max_length=3))(wide(model), *padded(rows))
    for row, (best,) in zip(rows, found, strict=True):
        scores = {y: sum(forced(wide(model), row, y)) + 0.7 * says(gru(), list(y)) for y in all_outputs(0, 3)}
        expected = max(scores, key=lambda y: scores[y])
        assert [*best.tokens, *[EOS] * best.finished] == list(expected)
        assert best.score == pytest.approx(scores[expected], abs=1e-9)


def wide(model: Table) -> Table:
    """With words of no probability, up to the language model's."""
    model.log_probs = torch.nn.functional.pad(model.log_probs, (0, V - model.log_probs.shape[1]), value=-torch.inf)
    return model


@pytest.mark.parametrize("search", [Greedy(**TIGHT), Beam(3, n_best=3, length_penalty=Average(), **TIGHT)])
def test_a_weight_of_zero_is_the_search_alone(search: Decoding) -> None:
    model, rows = Table(3, vocab=V), sources(8)
    assert fusion(search, weight=0.0)(model, *padded(rows)) == search(model, *padded(rows))


def test_a_language_model_changes_what_is_found() -> None:
    model, rows = Table(3, vocab=V), sources(8)
    assert fusion(Beam(3), weight=2.0)(model, *padded(rows)) != Beam(3)(model, *padded(rows))


def test_a_sentence_decodes_alike_alone_and_in_any_batch() -> None:
    model, rows, fused = Table(4, vocab=V), sources(9), fusion(Beam(3, n_best=2, **TIGHT))
    together = fused(model, *padded(rows))
    backwards = fused(model, *padded(rows[::-1], extra=3))[::-1]
    for row, found, other in zip(rows, together, backwards, strict=True):
        assert_same(found, other)
        assert_same(found, fused(model, *padded([row]))[0])


def test_an_ensemble_can_be_fused_and_a_fusion_be_a_member() -> None:
    """Either way the language model adds to the ranking, and the ensemble is what is ranked."""
    model, rows, beam = gru(), sources(6), Beam(3, n_best=2, **TIGHT)
    inside = fusion(Ensemble(["b.ckpt"], search=beam))
    outside = Ensemble(["b.ckpt"], search=ShallowFusion("lm.ckpt", weight=0.7, search=beam))
    outside.attach(tools(language_model=lambda _: gru(), network=lambda _: gru()))
    alone = fusion(beam)(model, *padded(rows))
    for one, other, itself in zip(inside(model, *padded(rows)), outside(model, *padded(rows)), alone, strict=True):
        assert_same(one, other)
        assert_same(one, itself)  # law 13


def test_two_language_models_add_up() -> None:
    model, rows = Table(5, vocab=V), sources(6)
    twice = fusion(fusion(Beam(3, **TIGHT), weight=0.4), weight=0.3)
    for found, expected in zip(
        twice(model, *padded(rows)), fusion(Beam(3, **TIGHT))(model, *padded(rows)), strict=True
    ):
        assert_same(found, expected)


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(UserError, match=r"weight=-0\.1"):
        ShallowFusion("lm.ckpt", weight=-0.1)
