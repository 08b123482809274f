"""State space duality: a recurrence with scalar decays, computed as matrix products over chunks.

Dao & Gu (2024, arXiv:2405.21060).
Shape letters: B batch, T positions, G groups, R heads of a group, P width of a head, N width of the keys of the state,
K chunks, Q positions of a chunk.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from s2s_lightning.nn.eager import eager

CHUNK_SIZE = 32
"""On a CPU, with heads of 32 at T 128 and 512, 16 and 32 take about the same time, 64 and 128 more."""


@eager
def ssd(
    x: Tensor,
    log_input: Tensor,
    log_decay: Tensor,
    b: Tensor,
    c: Tensor,
    state: Tensor,
    chunk_size: int = CHUNK_SIZE,
) -> tuple[Tensor, Tensor]:
    """h_t = exp(log_decay_t) h_{t-1} + exp(log_input_t) b_t x_t^T and y_t = h_t^T c_t, for each head.

    Where log_input is -inf and log_decay 0, the state stays as it is: so padding is hidden. Within a chunk it is
    attention without a softmax, and only the states between chunks wait for one another. All weights are exponentials
    of sums, which are masked before, so that nothing overflows and no gradient is inf * 0. The sums are in float64:
    those of strong decays are large, and their differences would lose digits (3e-3 of y was seen). It costs no time
    that could be measured.

    Args:
        x: (B, T, G, R, P).
        log_input: (B, T, G, R), the size of a step in its logarithm.
        log_decay: (B, T, G, R), not above 0.
        b: (B, T, G, N), what writes, shared by the heads of a group.
        c: (B, T, G, N), what reads.
        state: h_0 (B, G, N, R, P).
        chunk_size: Q. It changes nothing but rounding, and the time it takes.

    Returns:
        y (B, T, G, R, P) and h_T (B, G, N, R, P).
    """
    with torch.autocast(x.device.type, enabled=False):
        if x.shape[1] == 1:
            return _step(x, log_input, log_decay, b, c, state)
        return _in_chunks(x, log_input, log_decay, b, c, state, chunk_size=chunk_size)


def _step(
    x: Tensor, log_input: Tensor, log_decay: Tensor, b: Tensor, c: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """The recurrence itself, one position."""
    new = (log_input.exp().unsqueeze(-1) * x).transpose(1, 2)  # (B, G, 1, R, P)
    state = log_decay.exp().transpose(1, 2).unsqueeze(-1) * state + b[:, 0, :, :, None, None] * new
    y = c.transpose(1, 2) @ state.flatten(-2)  # (B, G, 1, RP)
    return y.view(x.shape), state


def _in_chunks(
    x: Tensor, log_input: Tensor, log_decay: Tensor, b: Tensor, c: Tensor, state: Tensor, *, chunk_size: int
) -> tuple[Tensor, Tensor]:
    length, heads = x.shape[1], x.shape[-2:]
    x, log_input, log_decay, b, c = (_chunks(part, min(chunk_size, length)) for part in (x, log_input, log_decay, b, c))
    b, c = b.transpose(2, 3), c.transpose(2, 3)  # (B, K, G, Q, N)
    until = log_decay.cumsum(2, dtype=torch.float64)  # decay from before the chunk to each of its positions
    since = until - log_input  # subtracted, it leaves what remains later of what enters at a position
    to_end = (until[:, :, -1:] - since).to(x.dtype).exp().unsqueeze(-1)
    added = b.mT @ (x * to_end).flatten(-2).transpose(2, 3)  # (B, K, G, N, RP)
    decay = until.to(x.dtype).exp().unsqueeze(-1)
    before, state = _pass_on(torch.unflatten(added, -1, heads), decay[:, :, -1], state)
    earlier = torch.unflatten(c @ before.flatten(-2), -1, heads).transpose(2, 3)
    y = torch.addcmul(_within(x, until, since, b, c), earlier, decay)
    return y.flatten(1, 2)[:, :length], state


def _chunks(x: Tensor, size: int) -> Tensor:
    """(B, T, ...) -> (B, K, Q, ...), zeros behind the end."""
    missing = -x.shape[1] % size
    if missing:
        x = F.pad(x, (0, 0) * (x.dim() - 2) + (0, missing))
    return torch.unflatten(x, 1, (-1, size))


def _pass_on(added: Tensor, decay: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """Carry states from chunk to chunk: added (B, K, G, N, R, P), decay (B, K, G, R, 1).

    Returns:
        the states before each chunk (B, K, G, N, R, P), and that after the last.
    """
    before = []
    for new, kept in zip(added.unbind(1), decay.unsqueeze(3).unbind(1), strict=True):
        before.append(state)
        state = kept * state + new
    return torch.stack(before, 1), state


def _within(x: Tensor, until: Tensor, since: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Return what the positions of a chunk give to each other, (B, K, Q, G, R, P); b and c are (B, K, G, Q, N)."""
    until, since = (part.permute(0, 1, 3, 4, 2) for part in (until, since))  # (B, K, G, R, Q)
    later = torch.ones(x.shape[2], x.shape[2], dtype=torch.bool, device=x.device).triu(1)
    weights = (until.unsqueeze(-1) - since.unsqueeze(-2)).to(x.dtype).masked_fill(later, -torch.inf).exp()
    scores = (c @ b.mT).unsqueeze(3) * weights  # (B, K, G, R, Q, Q)
    return (scores @ x.permute(0, 1, 3, 4, 2, 5)).permute(0, 1, 4, 2, 3, 5)
