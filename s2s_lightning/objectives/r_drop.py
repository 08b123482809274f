"""R-Drop."""

import torch
from torch import Tensor

from s2s_lightning import PAD
from s2s_lightning.errors import check_at_least, check_below_one
from s2s_lightning.model import Batch, Seq2Seq
from s2s_lightning.objectives.objective import Objective, ObjectiveOutput
from s2s_lightning.objectives.pieces import Said, by_pieces, finite


class RDrop(Objective):
    """Cross-entropy of two passes with unlike dropout, and how far they differ (Wu et al., 2021, arXiv:2106.14448).

    1/2 [-log p1(y) - log p2(y)] + alpha/2 * 1/2 [KL(p1 || p2) + KL(p2 || p1)], which is half the paper's loss: alpha
    is the paper's, and without dropout the loss is cross-entropy. Both passes run as one batch of twice the sentences,
    so that a step costs two and needs the memory of two; the divergence costs two readouts more.

    Args:
        alpha: weight of the divergence.
        label_smoothing: of the cross-entropy.

    Raises:
        UserError: alpha is negative, or label_smoothing not from 0 to below 1.
    """

    def __init__(self, alpha: float = 5.0, label_smoothing: float = 0.1) -> None:
        check_at_least(0, alpha=alpha)
        check_below_one(label_smoothing=label_smoothing)
        self.alpha = alpha
        self.label_smoothing = label_smoothing

    def __call__(self, model: Seq2Seq, batch: Batch) -> ObjectiveOutput:
        # all but the divisor, which has no rows
        rows = {name: x for name, x in batch._asdict().items() if x is not None and x.ndim}
        twice = batch._replace(**{name: torch.cat([x, x]) for name, x in rows.items()})
        output = model.teacher_force(twice)
        loss = model.cross_entropy(output, twice.tgt_out, self.label_smoothing)
        divergence = by_pieces(_divergence, twice.tgt_out, Said(model, output)).sum()
        parts = {"nll": loss.nll / 2, "kl": divergence.detach()}
        return ObjectiveOutput((loss.sum + self.alpha * divergence) / 2, (batch.tgt_out != PAD).sum(), parts)


def _divergence(target: Tensor, log_probs: Tensor) -> Tensor:
    """(B, T) 1/2 [KL(p || q) + KL(q || p)] = 1/2 sum (p - q) (log p - log q) of the two halves of (2B, T, V)."""
    log_p, log_q = finite(log_probs).chunk(2)
    divergence = ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(-1) / 2
    return divergence.masked_fill(target[: len(divergence)] == PAD, 0)
