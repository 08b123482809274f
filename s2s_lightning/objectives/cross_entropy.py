"""Label-smoothed cross-entropy."""

from s2s_lightning import PAD
from s2s_lightning.errors import check_below_one
from s2s_lightning.model import Batch, Seq2Seq
from s2s_lightning.objectives.objective import Objective, ObjectiveOutput


class LabelSmoothedCrossEntropy(Objective):
    """-sum_v q_v log p_v with q = (1 - e) * one_hot(y) + e / V (Szegedy et al., 2016, 7, arXiv:1512.00567).

    Args:
        label_smoothing: e, the probability mass spread over the whole vocabulary; 0 is plain cross-entropy.

    Raises:
        UserError: label_smoothing is not from 0 to below 1.
    """

    def __init__(self, label_smoothing: float = 0.1) -> None:
        check_below_one(label_smoothing=label_smoothing)
        self.label_smoothing = label_smoothing

    def __call__(self, model: Seq2Seq, batch: Batch) -> ObjectiveOutput:
        loss = model.cross_entropy(model.teacher_force(batch), batch.tgt_out, self.label_smoothing)
        return ObjectiveOutput(loss.sum, (batch.tgt_out != PAD).sum(), {"nll": loss.nll})
