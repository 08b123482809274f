"""Linear attention, whose state is a matrix: retention, the delta rule, and the gated delta rule.

A sequence is cut into chunks: within them positions are matrix products, between them the state is carried. A single
position takes the recurrence itself. All is computed in float32 at least, also under autocast.

Shape letters: d width of a key, d' of a value, N chunks, C positions of a chunk. A state is (B, H, d, d').
"""

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from s2s_lightning.nn.eager import eager

CHUNK, RETENTION_CHUNK = 32, 64
"""Most positions of a chunk. Without a system to be solved larger ones are faster: on a CPU, 0.83 of the time of 32 for
B 16 and T 100, 0.97 for B 4 and T 400 (H 4, d 32, d' 64)."""


@eager
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
        padding: (B, T), True at positions that leave the state as it is, behind what is real or in front of it; None:
            all are real.

    Returns:
        o (B, H, T, d') and the state after the last position.
    """
    everywhere = log_decays = log_decay[None, :, None].expand(1, -1, q.shape[2])
    if padding is not None:
        real = (~padding).unsqueeze(1)
        k, log_decays = k * real.unsqueeze(-1), log_decays * real
    with torch.autocast(q.device.type, enabled=False):
        q, k, v = _single(q, k, v)
        if q.shape[2] == 1:
            return _step(q, k, v, log_decays, state)
        # Nothing stands between real positions, so the largest factor is the same for all rows.
        chunks = partial(_chunks, longest=RETENTION_CHUNK)
        decay = Decay.of(chunks(log_decays), q.dtype, chunks(everywhere))
        o, state = _join(chunks(q), chunks(k), chunks(v), None, decay, state)
        return o[:, :, : q.shape[2]], state


@eager
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

    What the state answers to a key of length 1 is replaced, by the part beta, with the key's value.

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
    if log_decay is None:
        log_decay = beta.new_zeros(1, 1, 1).expand(1, 1, q.shape[2])
    if padding is not None:
        real = (~padding).unsqueeze(1)
        beta, log_decay = beta * real, log_decay * real
    with torch.autocast(q.device.type, enabled=False):
        q, k, v, beta = _single(q, k, v, beta)
        if q.shape[2] == 1:
            return _replace_step(q, k, v, beta, log_decay, state)
        decay = Decay.of(_chunks(log_decay), q.dtype)
        keys = _chunks(k)
        written, erased = _replacements(keys, _chunks(v), _chunks(beta), decay, state is None)
        o, state = _join(_chunks(q), keys, written, erased, decay, state)
        return o[:, :, : q.shape[2]], state


def _single(*tensors: Tensor) -> list[Tensor]:
    """Return the tensors in float32 at least."""
    return [x.to(torch.promote_types(x.dtype, torch.float32)) for x in tensors]


def _step(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
    """One position of retention: log_decay (1 or B, H, 1)."""
    added = k.mT * v
    state = added if state is None else state * log_decay.exp().to(state.dtype).unsqueeze(-1) + added
    return q @ state, state


def _replace_step(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor, state: Tensor | None
) -> tuple[Tensor, Tensor]:
    """One position of a delta rule."""
    if state is not None:
        v = v - k @ state * log_decay.exp().to(state.dtype).unsqueeze(-1)
    return _step(q, k, v * beta.unsqueeze(-1), log_decay, state)


def _chunks(x: Tensor, longest: int = CHUNK) -> Tensor:
    """(B, H, T, ...) -> (N, B, H, C, ...), filled up with zeros, which leave the state as it is."""
    length = x.shape[2]
    count = -(-length // longest)
    size = -(-length // count)
    if count * size > length:
        x = F.pad(x, (0, 0) * (x.dim() - 3) + (0, count * size - length))
    return x.reshape(*x.shape[:2], count, size, *x.shape[3:]).movedim(2, 0).contiguous()


class Decay(NamedTuple):
    """Share of a state that is left in a chunk.

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
    def of(cls, log_decay: Tensor, dtype: torch.dtype, within: Tensor | None = None) -> "Decay":
        """Build the decay of (N, B, H, C), and of ``within`` (N, 1 or B, H, C) between positions, if that is another.

        Summed in float64: where a gate closes, small differences of large sums count.
        """
        total = log_decay.double().cumsum(-1).unsqueeze(-1)
        end = total[..., -1:, :]
        inner = total if within is None else within.double().cumsum(-1).unsqueeze(-1)
        between = inner - inner.mT
        later = torch.ones(between.shape[-2:], dtype=torch.bool, device=between.device).triu(1)
        logs = between.masked_fill(later, -torch.inf), total, end - total, end
        return cls(*(log.to(dtype).exp() for log in logs))


def _replacements(k: Tensor, v: Tensor, beta: Tensor, decay: Decay, from_zeros: bool) -> tuple[Tensor, Tensor | None]:
    """Return the values that a delta rule writes at each position of a chunk: u - w S, for the state S before the
    chunk.

    Position i writes beta_i (v_i - what its key reads), of S and of what was written before it in the chunk, all of it
    decayed: a triangular system (the WY form of Yang et al., 2024, arXiv:2406.06484).

    Returns:
        u (N, B, H, C, d') and w (N, B, H, C, d), None for a single chunk that starts from zeros.
    """
    beta = beta.unsqueeze(-1)
    system = k @ k.mT * decay.between * beta  # its diagonal counts as 1
    single = from_zeros and len(k) == 1
    right = v if single else torch.cat((v, k * decay.since), -1)
    # Transposed, no operand has to be copied: a third of the time on a CPU.
    solved = torch.linalg.solve_triangular(system.mT, (right * beta).mT, upper=True, left=False, unitriangular=True).mT
    if single:
        return solved, None
    return solved[..., : v.shape[-1]], solved[..., v.shape[-1] :]


def _join(
    q: Tensor, k: Tensor, v: Tensor, erase: Tensor | None, decay: Decay, state: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The state from chunk to chunk, and what queries read of it and within their chunks.

    Args:
        q: (N, B, H, C, d).
        k: (N, B, H, C, d).
        v: (N, B, H, C, d'), what is written at each position but for
        erase: (N, B, H, C, d) times the state before the chunk; None: nothing.

    Returns:
        o (B, H, N * C, d') and the last state.
    """
    scores = q @ k.mT * decay.between
    writers = (k * decay.until).mT
    if state is None and len(q) == 1:
        return (scores @ v)[0], (writers @ v)[0]
    state = v.new_zeros(*v.shape[1:3], k.shape[-1], v.shape[-1]) if state is None else state
    erases = [None] * len(v) if erase is None else erase.unbind()
    states, written = [], []
    for new, old, writer, kept in zip(v.unbind(), erases, writers.unbind(), decay.whole.unbind(), strict=True):
        new = new if old is None else new - old @ state
        states.append(state)
        written.append(new)
        state = state * kept + writer @ new
    o = scores @ (v if erase is None else torch.stack(written)) + q * decay.since @ torch.stack(states)
    return o.movedim(0, 2).flatten(2, 3), state
