"""Scheduled sampling, and the teacher-forcing ratio, which is the same with another coin."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from s2s_lightning import BOS, EOS, PAD
from s2s_lightning.decoding.sampling import draw
from s2s_lightning.errors import check_below_one, check_probability
from s2s_lightning.model import Batch, DecoderOutput, Seq2Seq
from s2s_lightning.objectives.decay import ConstantDecay, Decay, InverseSigmoidDecay
from s2s_lightning.objectives.objective import Objective, ObjectiveOutput
from s2s_lightning.objectives.pieces import Said, by_pieces

Coin = Literal["token", "sentence", "batch"]
Passes = Literal["two", "stepwise"]
Feedback = Literal["argmax", "sample"]


class ScheduledSampling(Objective):
    """Cross-entropy with an input that is the true token with probability epsilon, else the network's own prediction.

    epsilon falls with the optimizer steps (Bengio et al., 2015, arXiv:1506.03099). Two ways to the predictions:

    - "stepwise", as in that paper: token by token, so that a prediction follows from earlier ones. As many calls of
      the decoder as the target is long: one that trains in parallel loses just that.
    - "two" passes (Mihaylova & Martins, 2019, arXiv:1906.07651): all predictions from the true target in one call,
      mixed into the input of a second one. It costs one more call of the decoder, without its backward pass, and one
      more readout. The encoder runs once.

    Either works for every architecture. The predictions carry no gradient. Among them are none that a search would
    not go on from: PAD, BOS, and, which departs from the papers, EOS. While epsilon is 1, it is cross-entropy.

    Args:
        decay: of epsilon; InverseSigmoidDecay by default.
        passes: "two" or "stepwise".
        feedback: the most probable token ("argmax") or one drawn from the distribution ("sample").
        coin: what shares a toss: each "token" has its own (scheduled sampling), or all of a "sentence" or "batch".
        label_smoothing: as in cross-entropy.

    Raises:
        UserError: label_smoothing is not from 0 to below 1.
    """

    def __init__(
        self,
        decay: Decay | None = None,
        *,
        passes: Passes = "two",
        feedback: Feedback = "argmax",
        coin: Coin = "token",
        label_smoothing: float = 0.0,
    ) -> None:
        check_below_one(label_smoothing=label_smoothing)
        self.decay = decay or InverseSigmoidDecay()
        self.passes = passes
        self.feedback = feedback
        self.coin = coin
        self.label_smoothing = label_smoothing

    def __call__(self, model: Seq2Seq, batch: Batch) -> ObjectiveOutput:
        epsilon = self.decay(self.step)
        if epsilon < 1:
            true = _toss(batch.tgt_in, epsilon, self.coin)
            output = self._mixed(model, batch, true)
        else:
            true = torch.ones_like(batch.tgt_in, dtype=torch.bool)
            output = model.teacher_force(batch)
        loss = model.cross_entropy(output, batch.tgt_out, self.label_smoothing)
        real = batch.tgt_out != PAD
        return ObjectiveOutput(loss.sum, real.sum(), {"nll": loss.nll, "true_inputs": (true & real).sum()})

    def _mixed(self, model: Seq2Seq, batch: Batch, true: Tensor) -> DecoderOutput:
        predict = _most_probable if self.feedback == "argmax" else _drawn
        mix = _two_passes if self.passes == "two" else _stepwise
        return mix(model, batch, true, predict)


class TeacherForcingRatio(ScheduledSampling):
    """Teacher forcing of a share of the batches or sentences, and free running of the others, by the toss of a coin.

    ``teacher_forcing_ratio`` in many tutorials. Teacher forcing is Williams & Zipser's (1989) name for reading the true
    token. The predictions are fed back token by token, so that a free-running sentence costs as many calls of the
    decoder as it is long.

    Args:
        ratio: the probability of teacher forcing.
        coin: one toss for a whole "batch" or one for each "sentence".
        feedback: the most probable token ("argmax") or one drawn from the distribution ("sample").
        label_smoothing: as in cross-entropy.

    Raises:
        UserError: ratio is not from 0 to 1, or label_smoothing not from 0 to below 1.
    """

    def __init__(
        self,
        ratio: float = 0.5,
        *,
        coin: Literal["sentence", "batch"] = "batch",
        feedback: Feedback = "argmax",
        label_smoothing: float = 0.0,
    ) -> None:
        check_probability(ratio=ratio)
        super().__init__(
            ConstantDecay(ratio), passes="stepwise", feedback=feedback, coin=coin, label_smoothing=label_smoothing
        )


Predict = Callable[[Tensor, Tensor], Tensor]
"""From the target (B, T) and log_probs (B, T, V) to the ids that the network would go on with (B, T)."""


def _toss(tgt_in: Tensor, epsilon: float, coin: Coin) -> Tensor:
    """(B, T) True where the true token is read; always at BOS and at padding."""
    rows, length = tgt_in.shape
    shape = {"token": (rows, length), "sentence": (rows, 1), "batch": (1, 1)}[coin]
    return (torch.rand(shape, device=tgt_in.device) < epsilon) | (tgt_in == PAD) | (tgt_in == BOS)


def _two_passes(model: Seq2Seq, batch: Batch, true: Tensor, predict: Predict) -> DecoderOutput:
    state = model.start(batch.src, batch.src_padding, batch.src_copy)
    with torch.no_grad():
        predicted = by_pieces(predict, batch.tgt_out, Said(model, model(batch.tgt_in, state)))
    read = torch.cat([batch.tgt_in[:, :1], predicted[:, :-1]], 1)
    output: DecoderOutput = model(batch.tgt_in.where(true, read), state)
    return output


def _stepwise(model: Seq2Seq, batch: Batch, true: Tensor, predict: Predict) -> DecoderOutput:
    state = model.start(batch.src, batch.src_padding, batch.src_copy)
    tokens, outputs = batch.tgt_in[:, :1], []
    for step in range(batch.tgt_in.shape[1]):
        tokens = batch.tgt_in[:, step : step + 1].where(true[:, step : step + 1], tokens)
        outputs.append(model(tokens, state))
        state = outputs[-1].state
        with torch.no_grad():
            tokens = predict(batch.tgt_out[:, step : step + 1], model.log_probs(outputs[-1]))
    return _joined(outputs)


def _joined(outputs: list[DecoderOutput]) -> DecoderOutput:
    """Pieces of a target as one, the reverse of ``DecoderOutput.split``."""
    hidden, _, attention, gate = zip(*outputs, strict=True)
    return outputs[-1]._replace(
        hidden=torch.cat(hidden, 1),
        attention=None if attention[0] is None else torch.cat(attention, -2),
        gate=None if gate[0] is None else torch.cat(gate, 1),
    )


def _most_probable(target: Tensor, log_probs: Tensor) -> Tensor:
    return log_probs[..., EOS + 1 :].argmax(-1) + EOS + 1


def _drawn(target: Tensor, log_probs: Tensor) -> Tensor:
    words = log_probs[..., EOS + 1 :].flatten(0, 1)
    return draw(words, torch.rand(len(words), device=words.device)).view(target.shape) + EOS + 1
