"""What sampling cuts off, against plain Python."""

import math
from collections.abc import Callable

import pytest
import torch

from s2s_lightning.decoding import Greedy, Sampling
from s2s_lightning.decoding.truncation import Truncation
from s2s_lightning.errors import UserError
from tests.decoding.fakes import Table, assert_same, padded, sources

Scores = dict[int, float]
"""Of the tokens that are left."""


def probabilities(scores: Scores) -> Scores:
    total = sum(math.exp(s) for s in scores.values())
    return {token: math.exp(s) / total for token, s in scores.items()}


def first(scores: Scores, order: Callable[[int], float], mass: float) -> Scores:
    p, kept, summed = probabilities(scores), {}, 0.0
    for token in sorted(scores, key=order):
        kept[token] = scores[token]
        summed += p[token]
        if summed >= mass:
            break
    return kept


def top_k(scores: Scores, k: int) -> Scores:
    return {token: scores[token] for token in sorted(scores, key=lambda t: -scores[t])[:k]}


def top_p(scores: Scores, mass: float) -> Scores:
    return first(scores, lambda t: -scores[t], mass)


def min_p(scores: Scores, share: float) -> Scores:
    p = probabilities(scores)
    return {token: s for token, s in scores.items() if p[token] >= share * max(p.values())}


def typical_p(scores: Scores, mass: float) -> Scores:
    p = probabilities(scores)
    entropy = -sum(x * math.log(x) for x in p.values())
    return first(scores, lambda t: abs(-math.log(p[t]) - entropy), mass)


SLOW = {"top_k": top_k, "top_p": top_p, "min_p": min_p, "typical_p": typical_p}
"""In the order in which they are applied."""

SETTINGS: list[dict[str, float]] = [
    *({"top_k": k} for k in (1, 2, 7, 100)),
    *({"top_p": p} for p in (1e-9, 0.3, 0.9, 0.999)),
    *({"min_p": p} for p in (0.01, 0.2, 1.0)),
    *({"typical_p": p} for p in (1e-9, 0.3, 0.9, 0.999)),
    {"top_k": 6, "top_p": 0.8},
    {"top_p": 0.9, "min_p": 0.1, "typical_p": 0.7},
    {"top_k": 9, "top_p": 0.95, "min_p": 0.02, "typical_p": 0.8},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_what_is_cut_off_is_what_the_definitions_say(settings: dict[str, float], dtype: torch.dtype) -> None:
    scores = 2 * torch.randn(50, 12, generator=torch.Generator().manual_seed(0), dtype=dtype)
    scores[::3, 4:7] = -torch.inf  # ruled out before
    for row, found in zip(scores.tolist(), Truncation(**settings)(scores).tolist(), strict=True):
        expected = {token: s for token, s in enumerate(row) if s > -math.inf}
        for name, slow in SLOW.items():
            expected = slow(expected, settings[name]) if name in settings else expected
        assert {token: s for token, s in enumerate(found) if s > -math.inf} == expected


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_one_token_stays_at_least(settings: dict[str, float]) -> None:
    alone = torch.full((1, 9), -torch.inf)
    alone[0, 5] = -80.0
    for scores in (alone, torch.zeros(1, 9), torch.tensor([[0.0, -300.0]])):
        assert Truncation(**settings)(scores).amax() == scores.amax()


@pytest.mark.parametrize("settings", [{"top_k": 1}, {"top_p": 1e-9}, {"min_p": 1.0}], ids=str)
@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_with_the_best_token_alone_it_is_greedy_search(settings: dict[str, float], temperature: float) -> None:
    model, source, limits = Table(8), padded(sources(10)), {"min_length": 2, "max_length": 7, "no_repeat_ngram": 2}
    sampling = Sampling(temperature=temperature, **settings, **limits)  # type: ignore[arg-type]
    for found, expected in zip(sampling(model, *source), Greedy(**limits)(model, *source), strict=True):
        assert_same(found, expected)


def test_with_nothing_cut_off_it_is_plain_sampling_under_the_same_seed() -> None:
    model, source, limits = Table(9), padded(sources(10)), {"num_samples": 4, "max_length": 7}
    plain = Sampling(**limits)(model, *source)
    assert Sampling(top_p=1.0, top_k=0, min_p=0.0, typical_p=1.0, **limits)(model, *source) == plain
    assert Sampling(top_k=Table(9).log_probs.shape[1], **limits)(model, *source) == plain
    assert Sampling(top_p=0.5, **limits)(model, *source) != plain


def test_a_sentence_is_sampled_alike_in_any_batch() -> None:
    model, rows = Table(3), sources(8)
    search = Sampling(num_samples=3, top_k=4, top_p=0.9, min_p=0.05, typical_p=0.9, max_length=7)
    together, backwards = search(model, *padded(rows)), search(model, *padded(rows[::-1], extra=4))[::-1]
    for row, found, other in zip(rows, together, backwards, strict=True):
        assert_same(found, other)
        assert_same(found, search(model, *padded([row]))[0])


@pytest.mark.parametrize(
    "wrong", [{"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.1}, {"min_p": -0.1}, {"min_p": 1.5}, {"typical_p": 0.0}]
)
def test_what_cannot_be_cut_off_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError, match=f"{next(iter(wrong))}="):
        Sampling(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(("mass", "kept"), [(0.25, 1), (0.5, 1), (0.5 + 1e-9, 2), (0.75, 2), (0.75 + 1e-9, 3)])
def test_tokens_are_kept_until_their_probabilities_reach_the_mass_and_no_longer(mass: float, kept: int) -> None:
    scores = torch.tensor([[0.5, 0.25, 0.25]], dtype=torch.float64).log()
    assert Truncation(top_p=mass)(scores).isfinite().sum() == kept
