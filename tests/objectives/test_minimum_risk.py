"""Minimum risk training against all outputs of a tiny vocabulary, one by one."""

import random
from collections.abc import Sequence
from itertools import product

import pytest
import torch
from torch import Tensor

from s2s_lightning import BOS, EOS, UNK
from s2s_lightning.errors import UserError
from s2s_lightning.model import Batch, Seq2Seq, assemble
from s2s_lightning.objectives import BLEUCost, Cost, EditCost, MinimumRisk
from s2s_lightning.objectives.costs import edit_distance, sentence_bleu
from s2s_lightning.objectives.minimum_risk import Output
from s2s_lightning.testing import batch_of
from tests.helpers.toy import WIDTH, ToyDecoder, ToyEncoder
from tests.objectives.networks import FAMILIES, assert_close, network, some_batch, without_dropout

VOCAB, LONGEST = 6, 2
OUTPUTS: list[Output] = [(EOS,), *((w, EOS) for w in range(UNK, VOCAB)), *product(range(UNK, VOCAB), repeat=2)]
"""All that can be emitted in two tokens."""


def tiny() -> Seq2Seq:
    """The toy network with three words."""
    torch.manual_seed(0)
    sizes = {"src_vocab_size": VOCAB, "tgt_vocab_size": VOCAB, "d_embedding": WIDTH}
    return assemble(ToyEncoder(), ToyDecoder(attends=True), **sizes, tie_embeddings="readout").double()


def two_sentences() -> Batch:
    return batch_of([([4, 5], [4]), ([5], [])])


def log_prob(model: Seq2Seq, src: Tensor, output: Sequence[int]) -> Tensor:
    """Of one output, step by step."""
    state = model.start(src, torch.zeros_like(src, dtype=torch.bool))
    terms = []
    for last, token in zip([BOS, *output], output, strict=False):
        step = model.step(torch.tensor([[last]]), state)
        state = step.state
        terms.append(step.log_probs[0, 0, token])
    return torch.stack(terms).sum()


def expected(model: Seq2Seq, batch: Batch, cost: Cost, alpha: float, outputs: Sequence[Output]) -> Tensor:
    """The gradient alpha * sum_y Q(y) (cost(y) - risk) grad log P(y), each sentence times its tokens."""
    total = torch.zeros(sum(p.numel() for p in model.parameters()), dtype=torch.float64)
    for row, reference in enumerate([[4], []][: len(batch.src)]):
        src = batch.src[row][~batch.src_padding[row]].unsqueeze(0)
        log_probs = [log_prob(model, src, output) for output in outputs]
        weights = [(alpha * value).exp().item() for value in log_probs]
        costs = [cost([token for token in output if token != EOS], reference) for output in outputs]
        risk = sum(w * c for w, c in zip(weights, costs, strict=True)) / sum(weights)
        for value, weight, c in zip(log_probs, weights, costs, strict=True):
            grads = torch.autograd.grad(value, list(model.parameters()))
            factor = (len(reference) + 1) * alpha * weight / sum(weights) * (c - risk)
            total += factor * torch.cat([g.flatten() for g in grads])
    return total


@pytest.mark.parametrize("alpha", [1.0, 0.3])
@pytest.mark.parametrize("cost", [BLEUCost(), EditCost()], ids=["bleu", "edit"])
def test_the_gradient_over_all_candidates_is_the_closed_form(cost: Cost, alpha: float) -> None:
    class Everything(MinimumRisk):
        def sample(self, model: Seq2Seq, batch: Batch) -> list[list[Output]]:
            return [OUTPUTS] * len(batch.src)

    model, batch = tiny(), two_sentences()
    Everything(cost, alpha=alpha)(model, batch).sum.backward()
    found = torch.cat([p.grad.flatten() for p in model.parameters()])
    assert_close(found, expected(model, batch, cost, alpha, OUTPUTS))


def test_with_so_many_samples_that_none_is_missing_it_is_the_closed_form_too() -> None:
    torch.manual_seed(0)
    model, batch = tiny(), two_sentences()
    first = batch._replace(**{name: x[:1] for name, x in batch._asdict().items() if x is not None and x.ndim})
    objective = MinimumRisk(EditCost(), num_samples=600, alpha=1.0, max_length_ratio=1.0, include_reference=False)
    assert set(objective.sample(model, first)[0]) == set(OUTPUTS)
    objective(model, first).sum.backward()
    found = torch.cat([p.grad.flatten() for p in model.parameters()])
    assert_close(found, expected(model, first, EditCost(), 1.0, OUTPUTS))


def test_candidates_are_drawn_within_their_length_in_evaluation_mode() -> None:
    model, batch = network("luong").train(), some_batch()
    model.encoder.eval()
    seen = []
    model.decoder.register_forward_hook(lambda module, *_: seen.append(module.training))
    samples = MinimumRisk(max_length_ratio=1.0, num_samples=4).sample(model, batch)
    lengths = (batch.tgt_out != 0).sum(1).tolist()
    assert all(len(output) <= length for outputs, length in zip(samples, lengths, strict=True) for output in outputs)
    assert not any(seen)
    assert model.decoder.training
    assert not model.encoder.training


@pytest.mark.parametrize("family", FAMILIES)
def test_with_the_reference_alone_there_is_no_risk_and_its_nll_is_cross_entropy(family: str) -> None:
    class Nothing(MinimumRisk):
        def sample(self, model: Seq2Seq, batch: Batch) -> list[list[Output]]:
            return [[] for _ in batch.src]

    model, batch = without_dropout(network(family)), some_batch()
    found = Nothing(cross_entropy=1.0)(model, batch)
    loss = model.cross_entropy(model.teacher_force(batch), batch.tgt_out, 0.0)
    assert found.parts["risk"] == 0
    assert_close(found.sum, loss.sum)
    assert_close(found.parts["nll"], loss.nll)


def test_a_reference_that_is_no_candidate_has_no_share_of_the_risk() -> None:
    class Fixed(MinimumRisk):
        def sample(self, model: Seq2Seq, batch: Batch) -> list[list[Output]]:
            return [[(5, EOS), (5, EOS)], [(5, EOS), (EOS,)]]

    batch = two_sentences()
    with_it, without = (Fixed(EditCost(), include_reference=i)(tiny(), batch).parts["risk"] for i in (True, False))
    assert without > with_it
    # the first sentence has one candidate left, of cost 1, and two tokens; the second drew its reference
    second = without - 2
    assert 0 < second < 1


def test_sentence_bleu_is_that_of_sacrebleu() -> None:
    from sacrebleu.metrics import BLEU

    bleu = BLEU(smooth_method="add-k", smooth_value=1, tokenize="none", effective_order=False)
    random.seed(0)
    for _ in range(300):
        hypothesis, reference = (random.choices(range(4, 8), k=random.randint(1, 9)) for _ in range(2))
        theirs = bleu.sentence_score(" ".join(map(str, hypothesis)), [" ".join(map(str, reference))]).score
        assert 100 * sentence_bleu(hypothesis, reference) == pytest.approx(theirs, abs=1e-9)


def test_edit_distance_is_that_of_rapidfuzz() -> None:
    from rapidfuzz.distance import Levenshtein

    random.seed(0)
    for _ in range(300):
        a, b = (random.choices(range(4), k=random.randint(0, 9)) for _ in range(2))
        assert edit_distance(a, b) == Levenshtein.distance(a, b)


@pytest.mark.parametrize("cost", [BLEUCost(), EditCost()], ids=["bleu", "edit"])
def test_the_reference_itself_costs_nothing(cost: Cost) -> None:
    for reference in ([], [4], [4, 5, 4, 5, 6]):
        assert cost(reference, reference) == pytest.approx(0)
        assert cost([*reference, 9], reference) > 0


@pytest.mark.parametrize("wrong", [{"alpha": -1.0}, {"num_samples": 0}, {"max_length_ratio": 0.0}])
def test_settings_that_mean_nothing_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError, match=f"{next(iter(wrong))}="):
        MinimumRisk(**wrong)  # type: ignore[arg-type]
