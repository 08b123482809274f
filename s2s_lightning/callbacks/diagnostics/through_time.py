"""Gradients through time: |dL/dh_t| of recurrent encoders and decoders.

Shape letters: B batch, S source, T target, K losses.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from s2s_lightning.model import Batch, DecoderOutput, Seq2Seq, State, repeat
from s2s_lightning.nn import gradient_taps

MOST_LOSSES = 32
"""Target positions, spread over the sentence, whose losses are traced back; all of them in a shorter one."""


@contextmanager
def tracing() -> Iterator[None]:
    """Autograd on, whatever is around; cuDNN off, whose recurrences have no backward pass in eval mode."""
    with torch.inference_mode(False), torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
        yield


def encoder_norms(model: Seq2Seq, batch: Batch) -> Tensor | None:
    """|dL/dh_t| of the mean loss per token of one sentence, for each state that its encoder went through.

    h_t is all that the recurrences of the encoder, of every layer and direction, had as their states after their t-th
    step, and the derivative is total: over later steps, layers above, and attention.

    Args:
        model: in eval mode.
        batch: of one sentence without padding.

    Returns:
        (S,), by the steps from there to the end of the reading, first 0; None for an encoder without a recurrence.
    """
    with tracing():
        with gradient_taps.watched() as traces:
            state = model.start(batch.src, batch.src_padding, batch.src_copy)
        if not traces:
            return None
        log_probs = model.log_probs(model(batch.tgt_in, state))
        loss = -log_probs.gather(-1, batch.tgt_out.unsqueeze(-1)).mean()
        steps = zip(*(trace.zeros for trace in traces), strict=True)
        return _norms(loss, [[zero for zeros in step for zero in zeros] for step in steps])[0].flip(0)


def decoder_norms(model: Seq2Seq, batch: Batch) -> Tensor | None:
    """|dL_k/dh_t| of the loss of single target tokens, mean over pairs of positions with the same distance k - t.

    h_t is the whole carry with which the decoder goes on after step t, so that the contract is all that must be known
    of it: the target is read token by token. Key/value caches are left out: nothing recurs in them. The losses of a
    sentence are rows of one batch, so that one backward pass serves all of them.

    Args:
        model: in eval mode.
        batch: of one sentence without padding.

    Returns:
        (T - 1,), by the distance, first 1; None for a decoder without a recurrence.
    """
    length = batch.tgt_in.shape[1]
    losses = sorted({round(k) for k in torch.linspace(length - 1, 0, min(length, MOST_LOSSES)).tolist()})
    with torch.inference_mode(False), torch.no_grad():
        state = repeat(model.start(batch.src, batch.src_padding, batch.src_copy), len(losses))
    with tracing():
        trace, total = gradient_taps.Trace(), []
        for t in range(length):
            output = model(batch.tgt_in[:, t : t + 1].expand(len(losses), -1), state)
            if t in losses:
                total.append(model.log_probs(_row(output, losses.index(t)))[0, 0, batch.tgt_out[0, t]])
            state = State(output.state.context, trace(output.state.carry))
        if length < 2 or not any(trace.zeros):
            return None
        return _by_distance(_norms(-torch.stack(total).sum(), trace.zeros), losses)


def _row(output: DecoderOutput, row: int) -> DecoderOutput:
    """Return the part of the output that the readout reads of one row."""
    context, src = output.state.context
    rows = slice(row, row + 1)
    attention, gate = (None if x is None else x[rows] for x in (output.attention, output.gate))
    return DecoderOutput(output.hidden[rows], State((context, src[rows]), output.state.carry), attention, gate)


def _norms(loss: Tensor, steps: list[list[Tensor]]) -> Tensor:
    """(B, T): the norm of the gradient with respect to all (B, ...) of each step, in float64, as squares underflow."""
    leaves = [leaf for step in steps for leaf in step]
    gradients = iter(torch.autograd.grad(loss, leaves, materialize_grads=True))
    parts = [[next(gradients).double().flatten(1) for _ in step] for step in steps]
    return torch.stack([torch.cat(part, 1).norm(dim=1) for part in parts], 1)


def _by_distance(norms: Tensor, losses: list[int]) -> Tensor:
    """Norms (K, T) of the losses at these positions with respect to each step -> their means (T - 1,)."""
    length = norms.shape[1]
    pairs = [[norms[i, k - d] for i, k in enumerate(losses) if k >= d] for d in range(1, length)]
    return torch.stack([torch.stack(found).mean() for found in pairs])
