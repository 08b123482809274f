"""Coverage loss beside cross-entropy."""

import torch
from torch import Tensor

from s2s_lightning import PAD
from s2s_lightning.errors import UserError, check_at_least, check_below_one
from s2s_lightning.model import Batch, Seq2Seq
from s2s_lightning.objectives.objective import Objective, ObjectiveOutput


class CoverageLoss(Objective):
    """Cross-entropy + weight * sum_i min(a_ti, c_ti), c_t = sum_{t' < t} a_t' (See et al., 2017, arXiv:1704.04368).

    Looking again where one has looked costs. a is the mean attention over the layers and heads of any decoder that has
    attention; c is made of it here, whether the decoder reads a coverage or not. The authors add the term after long
    training without; a second run from the first one's checkpoint does that (``--init_from``). Logged as ``coverage``,
    without its weight.

    Args:
        weight: of the coverage loss (lambda; the authors' program: 1).
        label_smoothing: of the cross-entropy.

    Raises:
        UserError: a weight below 0, a label_smoothing not from 0 to below 1, or a network without attention.
    """

    def __init__(self, weight: float = 1.0, label_smoothing: float = 0.0) -> None:
        check_at_least(0, weight=weight)
        check_below_one(label_smoothing=label_smoothing)
        self.weight = weight
        self.label_smoothing = label_smoothing

    def __call__(self, model: Seq2Seq, batch: Batch) -> ObjectiveOutput:
        output = model.teacher_force(batch, need_weights=True)
        if output.attention is None:
            raise UserError("CoverageLoss is computed from attention, and this model has none: take another objective")
        real = batch.tgt_out != PAD
        loss = model.cross_entropy(output, batch.tgt_out, self.label_smoothing)
        coverage = coverage_loss(output.attention.mean((1, 2)))[real].sum()
        parts = {"nll": loss.nll, "coverage": coverage.detach()}
        return ObjectiveOutput(loss.sum + self.weight * coverage, real.sum(), parts)


def coverage_loss(attention: Tensor) -> Tensor:
    """Return the coverage loss of each target position (B, T), from attention (B, T, S)."""
    attention = attention.to(torch.promote_types(attention.dtype, torch.float32))
    before = attention.cumsum(1) - attention
    return torch.minimum(attention, before).sum(-1)
