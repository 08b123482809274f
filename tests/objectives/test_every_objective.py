"""What holds for all objectives, over unlike families."""

from collections.abc import Callable

import pytest
import torch

from s2s_lightning import PAD
from s2s_lightning.model import Batch, Seq2Seq
from s2s_lightning.objectives import (
    ConstantDecay,
    Distillation,
    EditCost,
    LabelSmoothedCrossEntropy,
    MinimumRisk,
    Objective,
    RDrop,
    ScheduledSampling,
    TeacherForcingRatio,
)
from s2s_lightning.objectives.minimum_risk import Output
from s2s_lightning.testing import batch_of, random_pairs
from tests.objectives.networks import (
    FAMILIES,
    assert_close,
    gradient,
    network,
    other_network,
    some_batch,
    without_dropout,
)


class FixedRisk(MinimumRisk):
    """The draws for a sentence are what its reference makes of itself, so that they are no matter of chance."""

    def sample(self, model: Seq2Seq, batch: Batch) -> list[list[Output]]:
        references = [tuple(token for token in row if token != PAD) for row in batch.tgt_out.tolist()]
        return [[(*reference[:0:-1], reference[0]), reference[1:], reference[:-1]] for reference in references]


OBJECTIVES: dict[str, Callable[[], Objective]] = {
    "cross-entropy": LabelSmoothedCrossEntropy,
    "two passes": lambda: ScheduledSampling(ConstantDecay(0.0), passes="two"),
    "stepwise": lambda: ScheduledSampling(ConstantDecay(0.0), passes="stepwise", label_smoothing=0.1),
    "free running": lambda: TeacherForcingRatio(0.0),
    "r-drop": RDrop,
    "distillation": lambda: Distillation("teacher.ckpt", alpha=0.7, label_smoothing=0.1),
    "minimum risk": lambda: FixedRisk(EditCost(), alpha=0.5, cross_entropy=0.3),
}


@pytest.fixture(params=OBJECTIVES.values(), ids=OBJECTIVES)
def objective(request: pytest.FixtureRequest) -> Objective:
    """Each objective in turn, with its chance taken out."""
    made: Objective = request.param()
    return made


@pytest.mark.parametrize("family", FAMILIES)
def test_micro_batches_have_the_gradient_of_one_batch(objective: Objective, family: str) -> None:
    model, pairs = without_dropout(network(family)), random_pairs(6)
    objective.attach(lambda _: other_network(family))
    whole = gradient(objective, model, batch_of(pairs))
    cut = gradient(objective, model, batch_of(pairs[:1], padding=11), batch_of(pairs[1:5]), batch_of(pairs[5:]))
    assert_close(cut, whole, 1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_parameter_learns_and_the_parts_are_sums_without_gradient(objective: Objective, family: str) -> None:
    model, batch = network(family).train(), some_batch()
    objective.attach(lambda _: other_network(family))
    output = objective(model, batch)
    assert output.tokens == (batch.tgt_out != PAD).sum()
    assert not any(part.requires_grad for part in output.parts.values())
    assert output.parts["nll"] > 0
    output.sum.backward()
    assert all(p.grad is not None for p in model.parameters())
    assert model.training


def test_without_gradients_an_objective_says_the_same(objective: Objective) -> None:
    model, batch = network("luong"), some_batch()
    objective.attach(lambda _: other_network("luong"))
    with torch.no_grad():
        value = objective(model, batch).sum
    assert_close(value, objective(model, batch).sum.detach())
