"""R-Drop: the closed form, and what it is without dropout."""

import pytest
import torch
from torch.nn.functional import kl_div

from s2s_lightning import PAD
from s2s_lightning.model import Seq2Seq
from s2s_lightning.objectives import LabelSmoothedCrossEntropy, RDrop
from s2s_lightning.objectives.pieces import Said, by_pieces, log_prob_of
from tests.objectives.networks import FAMILIES, assert_close, gradient, network, some_batch, without_dropout


@pytest.mark.parametrize("family", FAMILIES)
def test_without_dropout_it_is_cross_entropy(family: str) -> None:
    model, batch = without_dropout(network(family)), some_batch()
    found, expected = RDrop(label_smoothing=0.1), LabelSmoothedCrossEntropy(0.1)
    assert_close(found(model, batch).sum, expected(model, batch).sum)
    assert_close(found(model, batch).parts["kl"], torch.zeros((), dtype=torch.float64), 1e-12)
    assert_close(gradient(found, model, batch), gradient(expected, model, batch), 1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_with_dropout_it_is_its_formula(family: str) -> None:
    model, batch, said = network(family).train(), some_batch(), []
    model.register_forward_hook(lambda module, args, output: said.append(module.log_probs(output).clamp_min(-1e3)))
    found = RDrop(alpha=3.0, label_smoothing=0.0)(model, batch)
    p, q = said[0].chunk(2)
    real = batch.tgt_out != PAD
    kl = [kl_div(a, b, reduction="none", log_target=True).sum(-1)[real].sum() for a, b in ((p, q), (q, p))]
    nll = [-log_prob_of(batch.tgt_out, x).sum() for x in (p, q)]
    assert kl[0] > 1e-6
    assert_close(found.sum, (nll[0] + nll[1] + 3.0 * (kl[0] + kl[1]) / 2) / 2)
    assert_close(found.parts["kl"], (kl[0] + kl[1]) / 2)


@pytest.mark.parametrize("size", [1, 2, 3, 50])
@pytest.mark.parametrize("family", ["luong", "pointer"])
def test_any_size_of_piece_gives_values_and_gradients_of_the_whole(family: str, size: int) -> None:
    def entropy(target: torch.Tensor, log_probs: torch.Tensor) -> torch.Tensor:
        return -(log_probs.exp() * log_probs.clamp_min(-1e3)).sum(-1)  # what cannot be copied has -inf

    def total(model: Seq2Seq) -> torch.Tensor:
        return by_pieces(entropy, batch.tgt_out, Said(model, model.teacher_force(batch)), size=size).sum()

    model, batch = network(family), some_batch()
    whole = entropy(batch.tgt_out, model.log_probs(model.teacher_force(batch))).sum()
    assert_close(total(model), whole)
    grads = [torch.autograd.grad(x, list(model.parameters())) for x in (total(model), whole)]
    for one, other in zip(*grads, strict=True):
        assert_close(one, other)


@pytest.mark.parametrize("size", [1, 3, 100])
def test_pieces_of_a_network_that_copies_have_their_own_gates(size: int) -> None:
    model, batch = network("pointer"), some_batch()
    output = model.teacher_force(batch)
    log_probs = by_pieces(log_prob_of, batch.tgt_out, Said(model, output), size=size)
    assert_close(-log_probs.sum(), model.cross_entropy(output, batch.tgt_out, 0.0).sum)
