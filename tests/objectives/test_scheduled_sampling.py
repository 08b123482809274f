"""Scheduled sampling: at its ends it is cross-entropy and free running, and between them a mixture."""

import math
from collections.abc import Callable

import pytest
import torch

from s2s_lightning import EOS, PAD
from s2s_lightning.decoding import Greedy
from s2s_lightning.errors import UserError
from s2s_lightning.model import Seq2Seq
from s2s_lightning.objectives import (
    ConstantDecay,
    Decay,
    ExponentialDecay,
    InverseSigmoidDecay,
    LabelSmoothedCrossEntropy,
    LinearDecay,
    ScheduledSampling,
    TeacherForcingRatio,
)
from tests.objectives.networks import FAMILIES, assert_close, gradient, network, some_batch, without_dropout

PASSES = ["two", "stepwise"]


class Inputs:
    """What a network's decoder is given, call by call."""

    def __init__(self, model: Seq2Seq) -> None:
        self.calls: list[torch.Tensor] = []
        model.register_forward_pre_hook(lambda _, args: self.calls.append(args[0]))


@pytest.mark.parametrize("passes", PASSES)
@pytest.mark.parametrize("family", FAMILIES)
def test_with_true_tokens_alone_it_is_cross_entropy(family: str, passes: str) -> None:
    model, batch = without_dropout(network(family)), some_batch()
    expected = LabelSmoothedCrossEntropy(0.1)
    # epsilon is just below 1, so that the mixing is gone through
    sampling = ScheduledSampling(ConstantDecay(1 - 1e-16), passes=passes, label_smoothing=0.1)
    assert sampling.decay(0) < 1
    assert_close(sampling(model, batch).sum, expected(model, batch).sum)
    assert_close(gradient(sampling, model, batch), gradient(expected, model, batch), 1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_at_the_start_of_training_it_is_cross_entropy_to_the_bit_with_its_dropout(family: str) -> None:
    model, batch, sums = network(family).train(), some_batch(), []
    for objective in (ScheduledSampling(LinearDecay(), label_smoothing=0.1), LabelSmoothedCrossEntropy(0.1)):
        torch.manual_seed(3)
        sums.append(objective(model, batch).sum)
    assert torch.equal(*sums)


@pytest.mark.parametrize("family", FAMILIES)
def test_stepwise_without_true_tokens_reads_what_greedy_search_writes(family: str) -> None:
    model, batch = network(family), some_batch()
    length = batch.tgt_in.shape[1]
    greedy = Greedy(max_length=length, min_length=length, max_length_ratio=99)
    found = greedy(model, batch.src, batch.src_padding)
    written = torch.tensor([hypothesis.tokens[: length - 1] for (hypothesis,) in found])
    inputs = Inputs(model)
    ScheduledSampling(ConstantDecay(0.0), passes="stepwise")(model, batch)
    read, real = torch.cat(inputs.calls, 1)[:, 1:], batch.tgt_in[:, 1:] != PAD
    assert torch.equal(read[real], written[real])


@pytest.mark.parametrize("family", FAMILIES)
def test_two_passes_read_the_predictions_after_true_prefixes(family: str) -> None:
    model, batch = network(family), some_batch()
    predicted = model.log_probs(model.teacher_force(batch))[..., EOS + 1 :].argmax(-1) + EOS + 1
    inputs = Inputs(model)
    ScheduledSampling(ConstantDecay(0.0), passes="two")(model, batch)
    first, second = inputs.calls
    assert torch.equal(first, batch.tgt_in)
    real = batch.tgt_in[:, 1:] != PAD
    assert torch.equal(second[:, 1:][real], predicted[:, :-1][real])
    assert torch.equal(second[:, 0], batch.tgt_in[:, 0])


@pytest.mark.parametrize("passes", PASSES)
@pytest.mark.parametrize("coin", ["token", "sentence", "batch"])
def test_a_coin_decides_for_what_it_is_tossed_for(coin: str, passes: str) -> None:
    model, batch = network("rnn"), some_batch(12)
    true = 0
    for seed in range(20):
        torch.manual_seed(seed)
        inputs = Inputs(model)
        out = ScheduledSampling(ConstantDecay(0.5), coin=coin, passes=passes)(model, batch)
        read = inputs.calls[-1] if passes == "two" else torch.cat(inputs.calls, 1)
        model._forward_pre_hooks.clear()
        true += out.parts["true_inputs"].item()
        if coin == "sentence":
            truths = [torch.equal(a[a != PAD], b[a != PAD]) for a, b in zip(batch.tgt_in, read, strict=True)]
            assert 0 < sum(truths) < 12
        elif coin == "batch":
            assert out.parts["true_inputs"] in (12, out.tokens)
            assert torch.equal(read, batch.tgt_in) == (out.parts["true_inputs"] == out.tokens)
    read_tokens = 20 * (out.tokens.item() - 12)  # BOS is always true
    spread = {"token": 0.06, "sentence": 0.15, "batch": 0.3}[coin]
    assert (true - 20 * 12) / read_tokens == pytest.approx(0.5, abs=spread)


def test_the_teacher_forcing_ratio_is_a_coin_a_batch_with_free_running() -> None:
    model, batch = network("luong"), some_batch()
    free = ScheduledSampling(ConstantDecay(0.0), passes="stepwise")
    assert_close(TeacherForcingRatio(0.0)(model, batch).sum, free(model, batch).sum)
    assert_close(TeacherForcingRatio(1.0)(model, batch).sum, LabelSmoothedCrossEntropy(0.0)(model, batch).sum)


def test_sampled_feedback_has_the_distribution_of_the_network() -> None:
    model = network("rnn")
    batch = some_batch(1)
    many = batch._replace(
        **{name: x.repeat_interleave(1000, 0) for name, x in batch._asdict().items() if x is not None and x.ndim}
    )
    torch.manual_seed(0)
    inputs = Inputs(model)
    ScheduledSampling(ConstantDecay(0.0), feedback="sample")(model, many)
    drawn = inputs.calls[1][:, 1].bincount(minlength=13) / 1000
    expected = model.log_probs(model.teacher_force(batch))[0, 0].exp()
    expected[: EOS + 1] = 0
    assert_close(drawn.double(), expected / expected.sum(), 0.06)


DECAYS: list[tuple[Decay, Callable[[int], float]]] = [
    (ConstantDecay(0.3), lambda i: 0.3),
    (LinearDecay(0.01, start=0.9, minimum=0.2), lambda i: max(0.2, 0.9 - 0.01 * i)),
    (ExponentialDecay(0.99), lambda i: 0.99**i),
    (InverseSigmoidDecay(20), lambda i: 20 / (20 + math.exp(i / 20))),
]


@pytest.mark.parametrize(("decay", "formula"), DECAYS)
def test_a_decay_is_its_formula_and_never_rises(decay: Decay, formula: Callable[[int], float]) -> None:
    values = [decay(step) for step in range(0, 400, 7)]
    assert values == pytest.approx([formula(step) for step in range(0, 400, 7)])
    assert values == sorted(values, reverse=True)
    assert 0 <= decay(10**9) <= decay(0) <= 1


def test_a_probability_that_is_none_is_refused() -> None:
    with pytest.raises(UserError, match=r"probability=1\.5: it must be from 0 to 1"):
        ConstantDecay(1.5)


def test_a_ratio_that_is_no_probability_is_refused_by_its_name() -> None:
    with pytest.raises(UserError, match=r"ratio=1\.5"):
        TeacherForcingRatio(1.5)
