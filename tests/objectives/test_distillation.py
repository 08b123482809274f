"""Distillation: its formula, and that the teacher is outside of what is trained."""

import pytest
import torch
from torch import Tensor

from s2s_lightning.errors import UserError
from s2s_lightning.objectives import Distillation, LabelSmoothedCrossEntropy
from tests.helpers.toy import ToyModule
from tests.objectives.networks import (
    FAMILIES,
    assert_close,
    gradient,
    network,
    other_network,
    some_batch,
    without_dropout,
)


def taught_by(teacher: str, **options: float) -> Distillation:
    """By the network of a family."""
    objective = Distillation("teacher.ckpt", **options)
    objective.attach(lambda path: network(teacher).train())
    return objective


def entropies(p: Tensor, log_q: Tensor) -> Tensor:
    """-sum p log q, where what neither can say, a copy of no word, adds nothing."""
    return -(p * log_q.masked_fill(p == 0, 0)).sum(-1)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_student_that_equals_its_teacher_has_nothing_to_learn(family: str) -> None:
    student, batch = without_dropout(network(family)), some_batch()
    objective = taught_by(family, alpha=1.0)
    assert_close(objective(student, batch).sum, torch.zeros((), dtype=torch.float64))
    assert gradient(objective, student, batch).abs().max() < 1e-10


@pytest.mark.parametrize("student_family", FAMILIES)
def test_it_is_its_formula_and_the_paper_has_the_same_gradient(student_family: str) -> None:
    student, batch = without_dropout(network(student_family)), some_batch()
    teacher = other_network(student_family)
    q = teacher.log_probs(teacher.teacher_force(batch)).exp().detach()
    log_p = student.log_probs(student.teacher_force(batch))
    real = batch.tgt_out != 0
    nll = LabelSmoothedCrossEntropy(0.0)(student, batch).sum
    paper = 0.4 * nll + 0.6 * entropies(q, log_p)[real].sum()
    entropy = entropies(q, q.log())[real].sum()
    objective = Distillation("teacher.ckpt", alpha=0.6)
    objective.attach(lambda _: other_network(student_family))
    assert_close(objective(student, batch).sum, paper - 0.6 * entropy)
    found = gradient(objective, student, batch)
    student.zero_grad()
    paper.backward()
    assert_close(found, torch.cat([p.grad.flatten() for p in student.parameters()]), 1e-9)


def test_a_teacher_that_copies_teaches_no_model_that_does_not() -> None:
    with pytest.raises(UserError, match="copies source words and the other does not"):
        taught_by("pointer")(network("luong"), some_batch())


def test_without_a_share_of_the_teacher_it_is_cross_entropy() -> None:
    student, batch = network("rnn"), some_batch()
    expected = LabelSmoothedCrossEntropy(0.1)(student, batch).sum
    assert_close(taught_by("luong", alpha=0.0, label_smoothing=0.1)(student, batch).sum, expected)


def test_the_teacher_is_frozen_and_no_part_of_the_module() -> None:
    module, batch = ToyModule(), some_batch()
    names = set(module.state_dict())
    module.objective = objective = taught_by("rnn")
    module.train()
    student = network("luong").train()
    module.objective(student, batch).sum.backward()
    teacher = objective._network
    assert teacher is not None
    assert set(module.state_dict()) == names
    assert not set(teacher.parameters()) & set(module.parameters())
    assert not teacher.training
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())


def test_the_teacher_follows_the_student_in_its_type() -> None:
    objective = taught_by("rnn")
    objective(network("luong").float(), some_batch())
    assert {p.dtype for p in objective._network.parameters()} == {torch.float32}  # type: ignore[union-attr]


def test_a_teacher_that_is_not_open_is_said() -> None:
    with pytest.raises(UserError, match=r"teacher\.ckpt is not open"):
        Distillation("teacher.ckpt")(network("rnn"), some_batch())


def test_a_teacher_that_copies_where_the_student_does_not_is_refused() -> None:
    with pytest.raises(UserError, match="one copies source words and the other does not"):
        taught_by("pointer")(network("rnn"), some_batch())


def test_a_pointer_network_taught_by_itself_has_nothing_to_learn() -> None:
    output = taught_by("pointer")(network("pointer"), some_batch())
    assert_close(output.parts["kl"], torch.zeros_like(output.parts["kl"]))
