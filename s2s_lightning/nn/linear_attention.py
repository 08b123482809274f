"""Linear attention, whose state is a matrix: retention, the delta rule, and the gated delta rule.

A sequence is cut into chunks of at most ``CHUNK``: within them positions are matrix products, between them the state is
carried. A single position takes the recurrence itself. All is computed in float32 at least, also under autocast.

Shape letters: d width of a key, d' of a value, N chunks, C positions of a chunk. A state is (B, H, d, d').
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

CHUNK = 32
"""Of 16, 32, 64 and 128 the fastest in training on a CPU (B 32, H 4, d 32, T 128 and 512)."""


def retention(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, state: Tensor | None = None, padding: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Retention (Sun et al., 2023, 2.1, arXiv:2307.08621), with one decay a head.

    S_t = gamma S_{t-1} + k_t v_t^T, o_t = S_t^T q_t

    Args:
        q: (B, H, T, d).
        k: (B, H, T, d).
        v: (B, H, T, d').
        log_decay: (H,), log gamma, finite and <= 0.
        state: (B, H, d, d') before the first position; None: zeros.
        padding: (B, T), True at positions that leave the state as it is; None: all are real.

    Returns:
        o (B, H, T, d') and the state after the last position.
    """
    with torch.autocast(q.device.type, enabled=False):
        q, k, v = _single(q, k, v)
        steps = log_decay[None, :, None].expand(1, -1, q.shape[2])
        if padding is not None:
            real = (~padding).unsqueeze(1)
            k, steps = k * real.unsqueeze(-1), steps * real
        if q.shape[2] == 1:
            return _step(q, k, v, None, steps, state)
        length = q.shape[2]
        decay = Decay.of(_chunks(steps), q.dtype)
        q, k, v = _chunks(q), _chunks(k), _chunks(v)
        return _join(q, k, v, None, decay, state, length)


def delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    beta: Tensor,
    log_decay: Tensor | None = None,
    state: Tensor | None = None,
    padding: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The delta rule (Schlag et al., 2021, arXiv:2102.11174), or the gated one (Yang et al., 2024, arXiv:2412.06464).

    S_t = a_t (I - beta_t k_t k_t^T) S_{t-1} + beta_t k_t v_t^T, o_t = S_t^T q_t

    What the state answers to a key of length 1 is replaced, by the part beta, with the key's value. Within a chunk, the
    values that are really written solve a triangular system (the WY form of Yang et al., 2024, 3.2, arXiv:2406.06484).

    Args:
        q: (B, H, T, d).
        k: (B, H, T, d), not longer than 1.
        v: (B, H, T, d').
        beta: (B, H, T), from 0 to 1.
        log_decay: (B, H, T), log a_t, finite and <= 0; None: a = 1, the rule without a gate.
        state: (B, H, d, d') before the first position; None: zeros.
        padding: (B, T), True at positions that leave the state as it is; None: all are real.

    Returns:
        o (B, H, T, d') and the state after the last position.
    """
    with torch.autocast(q.device.type, enabled=False):
        q, k, v, beta = _single(q, k, v, beta)
        if padding is not None:
            real = (~padding).unsqueeze(1)
            beta = beta * real
            log_decay = None if log_decay is None else log_decay * real
        if q.shape[2] == 1:
            return _step(q, k, v, beta, log_decay, state)
        length = q.shape[2]
        decay = None if log_decay is None else Decay.of(_chunks(log_decay), q.dtype)
        q, k, v, beta = _chunks(q), _chunks(k), _chunks(v), _chunks(beta).unsqueeze(-1)
        v, erase = _corrections(k, v, beta, decay, state is not None or len(q) > 1)
        return _join(q, k, v, erase, decay, state, length)


def _single(*tensors: Tensor) -> list[Tensor]:
    return [x.to(torch.promote_types(x.dtype, torch.float32)) for x in tensors]


def _step(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor | None, log_decay: Tensor | None, state: Tensor | None
) -> tuple[Tensor, Tensor]:
    """One position by the recurrence; without beta nothing is replaced."""
    if state is None:
        state = v.new_zeros(*k.shape[:2], k.shape[-1], v.shape[-1])
    elif log_decay is not None:
        state = state * log_decay.to(state.dtype).exp().unsqueeze(-1)
    if beta is not None:
        v = (v - k @ state) * beta.unsqueeze(-1)
    state = state + k.mT * v
    return q @ state, state


def _chunks(x: Tensor) -> Tensor:
    """(B, H, T, ...) -> (N, B, H, C, ...), filled up with zeros, which leave the state as it is."""
    length = x.shape[2]
    count = -(-length // CHUNK)
    size = -(-length // count)
    if count * size > length:
        x = F.pad(x, (0, 0) * (x.dim() - 3) + (0, count * size - length))
    return x.view(*x.shape[:2], count, size, *x.shape[3:]).movedim(2, 0).contiguous()


class Decay(NamedTuple):
    """What is left of a state in a chunk.

    Attributes:
        between: (N, B, H, C, C), from the second position to the first, 0 where that is earlier.
        since: (N, B, H, C, 1), from the chunk's start to a position.
        until: (N, B, H, C, 1), from a position to the chunk's end.
        whole: (N, B, H, 1, 1), from its start to its end.
    """

    between: Tensor
    since: Tensor
    until: Tensor
    whole: Tensor

    @classmethod
    def of(cls, log_decay: Tensor, dtype: torch.dtype) -> "Decay":
        """Of (N, B, H, C). Sums are float64: a closed gate makes them large, and differences of them count."""
        total = log_decay.double().cumsum(-1).unsqueeze(-1)
        end = total[..., -1:, :]
        between = total - total.mT
        later = torch.ones(between.shape[-2:], dtype=torch.bool, device=between.device).triu(1)
        logs = between.masked_fill(later, -torch.inf), total, end - total, end
        return cls(*(log.to(dtype).exp() for log in logs))


def _corrections(
    k: Tensor, v: Tensor, beta: Tensor, decay: Decay | None, with_state: bool
) -> tuple[Tensor, Tensor | None]:
    """What each position writes, u - w S for a chunk's first state S: u (N, B, H, C, d') and w (N, B, H, C, d).

    Position i writes beta_i (v_i - what was written before it in the chunk, as its key reads it - what its key reads
    of S): (I + tril(beta k k^T, -1)) (u - w S) = beta (v - k S), where decays multiply.
    """
    system = k @ k.mT * beta
    if decay is not None:
        system = system * decay.between
    right = torch.cat((v, k if decay is None else k * decay.since), -1) if with_state else v
    solved = torch.linalg.solve_triangular(system, right * beta, upper=False, unitriangular=True)
    if not with_state:
        return solved, None
    u, w = solved.split([v.shape[-1], k.shape[-1]], -1)
    return u, w


def _join(
    q: Tensor, k: Tensor, v: Tensor, erase: Tensor | None, decay: Decay | None, state: Tensor | None, length: int
) -> tuple[Tensor, Tensor]:
    """The state from chunk to chunk, and what the queries read of it and within their chunks."""
    scores = (q @ k.mT).tril() if decay is None else q @ k.mT * decay.between
    writers = (k if decay is None else k * decay.until).mT
    if state is None and len(q) == 1:
        return (scores @ v)[0], (writers @ v)[0]
    if state is None:
        state = v.new_zeros(*q.shape[1:3], k.shape[-1], v.shape[-1])
    states, written = [], []
    erases = [None] * len(v) if erase is None else erase.unbind()
    wholes = [None] * len(v) if decay is None else decay.whole.unbind()
    for writer, new, old, whole in zip(writers.unbind(), v.unbind(), erases, wholes, strict=True):
        if old is not None:
            new = new - old @ state
        states.append(state)
        written.append(new)
        state = (state if whole is None else state * whole) + writer @ new
    o = scores @ torch.stack(written) + (q if decay is None else q * decay.since) @ torch.stack(states)
    return o.movedim(0, 2).flatten(2, 3)[:, :, :length], state
