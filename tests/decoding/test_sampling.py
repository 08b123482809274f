"""Ancestral sampling against the distribution that it draws from, and its noise."""

import math
from collections import Counter

import pytest
import torch

from s2s_lightning import EOS
from s2s_lightning.decoding import Greedy, Sampling
from s2s_lightning.errors import UserError
from tests.decoding.fakes import Table, all_outputs, assert_same, forced, padded, sources

ROW = [4, 7, EOS]


def emitted(hypothesis) -> tuple[int, ...]:  # type: ignore[no-untyped-def]
    return (*hypothesis.tokens, *[EOS] * hypothesis.finished)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize("shortest", [0, 2])
def test_each_output_is_drawn_with_its_probability(temperature: float, shortest: int) -> None:
    model, count = Table(1), 4000
    (samples,) = Sampling(
        num_samples=count, temperature=temperature, max_length=2, min_length=shortest, max_length_ratio=9
    )(model, *padded([ROW]))
    found = Counter(map(emitted, samples))
    expected = {y: probability(model, y, temperature, shortest) for y in all_outputs(shortest, 2)}
    assert sum(expected.values()) == pytest.approx(1)
    assert set(found) <= set(expected)
    for output, p in expected.items():
        assert found[output] / count == pytest.approx(p, abs=4 * (p * (1 - p) / count) ** 0.5 + 1e-3)


def probability(model: Table, output: tuple[int, ...], temperature: float, shortest: int) -> float:
    """The product over the steps, of a softmax without PAD and BOS, and without EOS before the minimum."""
    product = 1.0
    for step, token in enumerate(output):
        rest = range(EOS if step + 1 >= shortest else EOS + 1, model.log_probs.shape[1])
        scores = torch.tensor([forced(model, ROW, (*output[:step], other))[-1] for other in rest])
        product *= (scores / temperature).softmax(0)[rest.index(token)].item()
    return product


def test_log_prob_is_the_models_own_at_any_temperature_and_samples_are_sorted_by_it() -> None:
    model = Table(2)
    (samples,) = Sampling(num_samples=20, temperature=0.7, max_length=5)(model, *padded([ROW]))
    for sample in samples:
        assert sample.log_prob == pytest.approx(sum(forced(model, ROW, emitted(sample))))
        assert sample.score == sample.log_prob
    assert samples == sorted(samples, key=lambda sample: -sample.log_prob)


def test_a_sentence_is_sampled_alike_alone_in_any_batch_in_any_order_and_with_padding() -> None:
    model, rows, search = Table(3, eos_bias=1.0), sources(12), Sampling(num_samples=3, max_length=9)
    together = search(model, *padded(rows))
    backwards = search(model, *padded(rows[::-1], extra=4))[::-1]
    for row, found, other in zip(rows, together, backwards, strict=True):
        assert_same(found, other)
        assert_same(found, search(model, *padded([row]))[0])


def test_the_first_samples_of_many_are_those_of_few() -> None:
    model = Table(4)
    few, many = (Sampling(num_samples=k, max_length=6)(model, *padded([ROW]))[0] for k in (3, 8))
    assert Counter(map(emitted, few)) <= Counter(map(emitted, many))


def test_another_seed_gives_other_samples_and_the_same_seed_the_same() -> None:
    model, source = Table(5), padded(sources(8))
    one, again, other = (Sampling(seed=seed, max_length=9)(model, *source) for seed in (1, 1, 2))
    assert one == again
    assert one != other


def test_samples_of_similar_sources_are_independent() -> None:
    """A hash that mixed badly would give neighbouring ids or swapped ones the same numbers."""
    model = Table(6)
    model.log_probs[:] = torch.zeros(6, dtype=torch.float64).log_softmax(-1)  # all tokens are equally probable
    rows = [[a, b, EOS] for a in range(4, 24) for b in range(4, 24)]
    found = Sampling(max_length=1, max_length_ratio=9)(model, *padded(rows))
    counts = Counter(emitted(sample)[0] for (sample,) in found)
    assert all(counts[token] / len(rows) == pytest.approx(1 / 4, abs=0.09) for token in range(EOS, 6))
    swapped = dict(zip([tuple(row) for row in rows], [emitted(s)[0] for (s,) in found], strict=True))
    equal = [swapped[a, b, EOS] == swapped[b, a, EOS] for a, b, _ in swapped if a < b]
    assert sum(equal) / len(equal) == pytest.approx(1 / 4, abs=0.1)


def test_at_a_low_temperature_it_is_greedy() -> None:
    model, source = Table(7), padded(sources(10))
    for sampled, greedy in zip(Sampling(temperature=1e-4)(model, *source), Greedy()(model, *source), strict=True):
        assert_same(sampled, greedy)


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"temperature": -1.0}, {"num_samples": 0}])
def test_what_cannot_be_sampled_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError, match=f"{next(iter(wrong))}="):
        Sampling(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("temperature", [1e-39, 5e-324, math.inf, math.nan, -1.0, 0.0])
def test_a_temperature_that_would_overflow_is_refused(temperature: float) -> None:
    with pytest.raises(UserError, match=f"temperature={temperature}: it must be"):
        Sampling(temperature=temperature)
