"""Word-level knowledge distillation."""

from collections.abc import Callable

import torch
from torch import Tensor

from s2s_lightning import PAD
from s2s_lightning.errors import UserError, check_below_one, check_probability
from s2s_lightning.model import Batch, Seq2Seq
from s2s_lightning.objectives.objective import Objective, ObjectiveOutput
from s2s_lightning.objectives.pieces import Said, by_pieces, finite


class Distillation(Objective):
    """Word-level knowledge distillation from a trained network (Kim & Rush, 2016, arXiv:1606.07947).

    (1 - alpha) * NLL + alpha * KL(q || p), q the teacher's distribution after the true prefix. The paper has the
    cross-entropy -sum_v q_v log p_v for the divergence, which is more by the teacher's entropy, a constant: the
    gradients are the same, and 0 means that the student equals the teacher. The teacher may be of another family,
    but must have the same vocabularies. It is no part of the trained module: no checkpoint holds it, no optimizer sees
    it; it runs in evaluation mode and without gradients. It costs its forward pass and three more readouts.

    Args:
        teacher: checkpoint of the teacher; it is read once, before training.
        alpha: weight of the teacher, from 0 to 1.
        label_smoothing: of the NLL.

    Raises:
        UserError: alpha is not from 0 to 1, or label_smoothing not from 0 to below 1; in training, one of teacher and
            student copies and the other does not.
    """

    def __init__(self, teacher: str, alpha: float = 0.5, label_smoothing: float = 0.0) -> None:
        check_probability(alpha=alpha)
        check_below_one(label_smoothing=label_smoothing)
        self.teacher = teacher
        self.alpha = alpha
        self.label_smoothing = label_smoothing
        self._network: Seq2Seq | None = None

    def attach(self, load: Callable[[str], Seq2Seq]) -> None:
        """Take the teacher; one that a program has attached already stays."""
        if self._network is None:
            self._network = load(self.teacher).eval().requires_grad_(False)

    def __call__(self, model: Seq2Seq, batch: Batch) -> ObjectiveOutput:
        teacher = self._beside(model)
        with torch.no_grad():
            right = Said(teacher, teacher.teacher_force(batch))
        output = model.teacher_force(batch)
        loss = model.cross_entropy(output, batch.tgt_out, self.label_smoothing)
        divergence = by_pieces(_divergence, batch.tgt_out, Said(model, output), right).sum()
        total = (1 - self.alpha) * loss.sum + self.alpha * divergence
        return ObjectiveOutput(total, (batch.tgt_out != PAD).sum(), {"nll": loss.nll, "kl": divergence.detach()})

    def _beside(self, model: Seq2Seq) -> Seq2Seq:
        """The teacher, where the student is and in its type."""
        if self._network is None:
            raise UserError(f"the teacher {self.teacher} is not open: call the objective's attach() before training")
        if self._network.readout.needs_attention != model.readout.needs_attention:
            raise UserError(
                f"of the student and the teacher {self.teacher} one copies source words and the other does not: "
                "their distributions cannot be compared, take a teacher like the student"
            )
        own, students = next(self._network.parameters()), next(model.parameters())
        if (own.device, own.dtype) != (students.device, students.dtype):
            self._network.to(students)
        return self._network


def _divergence(target: Tensor, log_p: Tensor, log_q: Tensor) -> Tensor:
    """(B, T) KL(q || p)."""
    divergence = (log_q.exp() * (finite(log_q) - finite(log_p))).sum(-1)
    return divergence.masked_fill(target == PAD, 0)
