"""The mLSTM: an LSTM whose memory is a matrix, with exponential gates (Beck et al., 2024, 2.3, arXiv:2405.04517).

Shape letters: B batch, T positions, H heads, N width of queries and keys, P width of values.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from s2s_lightning.nn.ssd import CHUNK_SIZE, ssd


class Memory(NamedTuple):
    """The state, divided by exp(stabiliser).

    Attributes:
        matrix: (B, H, N, P + 1), C and, as its last column, the normaliser n: what a value of constant 1 leaves.
        stabiliser: (B, H), m.
    """

    matrix: Tensor
    stabiliser: Tensor

    @staticmethod
    def empty(rows: int, heads: int, d_key: int, d_value: int, like: Tensor) -> "Memory":
        """Return the memory before the first position, in the type and on the device of ``like``."""
        return Memory(like.new_zeros(rows, heads, d_key, d_value + 1), like.new_zeros(rows, heads))


def mlstm(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_input: Tensor,
    log_forget: Tensor,
    memory: Memory,
    chunk_size: int = CHUNK_SIZE,
) -> tuple[Tensor, Memory]:
    """C_t = f_t C_{t-1} + i_t k_t v_t^T, n_t = f_t n_{t-1} + i_t k_t and h_t = C_t^T q_t / max(|n_t . q_t|, 1).

    A division by exp(m_t) keeps all numbers small and cancels in h. Then it is state space duality with the decay
    f_t exp(m_{t-1} - m_t) and the input exp(log i_t - m_t), neither above 1. The paper's m_t = max(log f_t + m_{t-1},
    log i_t) is kept at 0 or more here, so that the 1 of the denominator, exp(-m_t), cannot overflow. h does not depend
    on m, so that no gradient goes through it. A position with log_input -inf and log_forget 0 leaves the memory alone.

    Args:
        q: (B, T, H, N), already scaled by N^-0.5.
        k: (B, T, H, N).
        v: (B, T, H, P).
        log_input: (B, T, H), any number: the exponential gate before its exponential.
        log_forget: (B, T, H), not above 0.
        memory: of the last call, or ``Memory.empty``.
        chunk_size: changes nothing but rounding, and the time it takes.

    Returns:
        h (B, T, H, P) and the memory after it.
    """
    stabilisers = _stabilisers(log_input.detach(), log_forget.detach(), memory.stabiliser)  # (B, T + 1, H)
    before, m = stabilisers[:, :-1], stabilisers[:, 1:]
    v, enter, keep = F.pad(v, (0, 1), value=1.0), log_input - m, log_forget + (before - m)
    v, enter, keep, matrix = (part.unsqueeze(3) for part in (v, enter, keep, memory.matrix))
    y, matrix = (part.squeeze(3) for part in ssd(v, enter, keep, k, q, matrix, chunk_size))
    # Beyond 60 the 1 is lost beside n . q, unless that is 0 itself, which must not divide.
    floor = (-m.clamp(max=60)).exp().unsqueeze(-1)
    h = y[..., :-1] / torch.maximum(y[..., -1:].abs(), floor)
    return h, Memory(matrix, m[:, -1])


def _stabilisers(log_input: Tensor, log_forget: Tensor, first: Tensor) -> Tensor:
    """m_t = max(log f_t + m_{t-1}, log i_t, 0) for t = 0 to T, from m_0 (B, H): (B, T + 1, H).

    With F_t the sum of log f up to t, it is F_t + max(m_0, max_{s <= t} (max(log i_s, 0) - F_s)).
    """
    forgotten = log_forget.cumsum(1, dtype=torch.float64)
    highest = (log_input.clamp(min=0) - forgotten).cummax(1).values
    first = first.unsqueeze(1)
    return torch.cat([first, (forgotten + torch.maximum(highest, first)).to(first.dtype)], 1)
