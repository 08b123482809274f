"""The linear recurrence h_t = a_t * h_{t-1} + b_t, channel by channel, forwards and in its gradient.

Shape letters: B batch, T time, D channels, C time steps of a chunk. Nothing here divides or takes logarithms, so gates
of exactly 0 or 1 are as good as any. The gradient of a scan is a scan the other way, d_t = g_t + a_{t+1} * d_{t+1}, so
that a and h are all that the backward pass keeps.

Forward and backward on one CPU thread, D 256, the loop of autograd = 1 (benchmarks/scan.py): in a row B 64, T 20 .5,
T 512 .3; in chunks B 1, T 512 and 4,096 .1. Doubling, log2(T) passes over everything, was slower than both.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from s2s_lightning.nn.eager import eager

BIG_STEP = 2048
"""Numbers B * D of one time step from which a CPU is busy with computing and not with calling."""


@eager
def scan(a: Tensor, b: Tensor, h0: Tensor) -> Tensor:
    """Return all h_t of h_t = a_t * h_{t-1} + b_t, in float32 at least.

    Args:
        a: (B, T, D).
        b: (B, T, D).
        h0: (B, D), the state before the first step.

    Returns:
        h (B, T, D); the state to go on with is its last.
    """
    h: Tensor = _Scan.apply(single(a), single(b), single(h0), False)  # type: ignore[no-untyped-call]
    return h


def single(x: Tensor) -> Tensor:
    """Return a tensor in float32 at least: bfloat16 would round the sums of each step."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def scan_loop(a: Tensor, b: Tensor, h0: Tensor) -> Tensor:
    """The reference: one step after the other, by autograd."""
    h, states = h0, []
    for a_t, b_t in zip(a.unbind(1), b.unbind(1), strict=True):
        h = a_t * h + b_t
        states.append(h)
    return torch.stack(states, 1)


def hold(a: Tensor, b: Tensor, padding: Tensor) -> tuple[Tensor, Tensor]:
    """Let padding (B, T), True at padding, keep the state: a = 1 and b = 0 there."""
    padding = padding.unsqueeze(-1)
    return a.masked_fill(padding, 1), b.masked_fill(padding, 0)


def turn(x: Tensor) -> Tensor:
    """The second half of the channels of x (B, T, D) back to front in time; done twice, nothing.

    A scan of turned inputs reads forwards in its first half and backwards in its second. Padding after the real part,
    where the state is held, then stands before it, and the state begins as it was given.
    """
    forwards, backwards = x.chunk(2, -1)
    return torch.cat([forwards, backwards.flip(1)], -1)


class _Scan(torch.autograd.Function):
    """The recurrence from the first step to the last, or with ``backwards`` from the last to the first."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, h0: Tensor, backwards: bool) -> Tensor:
        h = _run(a, b, h0, backwards)
        ctx.save_for_backward(a, h0, h)
        ctx.backwards = backwards
        return h

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        a, h0, h = ctx.saved_tensors
        first, back = (-1, 1) if ctx.backwards else (0, -1)
        # Rolled around, the first a stands where the way back begins, and multiplies zeros.
        args = a.roll(back, 1), gradient, torch.zeros_like(h0), not ctx.backwards
        d: Tensor = _Scan.apply(*args)  # type: ignore[no-untyped-call]
        before = h.roll(-back, 1)
        before[:, first] = h0
        return d * before, d, d[:, first] * a[:, first], None


def _run(a: Tensor, b: Tensor, h0: Tensor, backwards: bool) -> Tensor:
    length, (rows, width) = a.shape[1], h0.shape
    if length < 32 or (a.is_cpu and rows * width >= BIG_STEP):
        return _in_a_row(a, b, h0, 1, backwards)
    return _in_chunks(a, b, h0, backwards)


def _in_a_row(a: Tensor, b: Tensor, h: Tensor, dim: int, backwards: bool) -> Tensor:
    """Along a dimension of a and b; h has the others."""
    out = torch.empty_like(b)
    steps = zip(a.unbind(dim), b.unbind(dim), out.unbind(dim), strict=True)
    for a_t, b_t, h_t in reversed(list(steps)) if backwards else steps:
        h = torch.addcmul(b_t, a_t, h, out=h_t)
    return out


def _in_chunks(a: Tensor, b: Tensor, h0: Tensor, backwards: bool) -> Tensor:
    """Chunks of about sqrt(T) side by side, each from zeros, then what comes from the chunks before them.

    h = h_chunk + (product of a within the chunk so far) * (state before the chunk): about 3 sqrt(T) calls, not T.
    """
    length = a.shape[1]
    size = int(length**0.5)
    more = -length % size
    shape = (len(a), -1, size, a.shape[2])
    a, b = F.pad(a, (0, 0, 0, more), value=1.0).reshape(shape), F.pad(b, (0, 0, 0, more)).reshape(shape)
    zeros = torch.zeros_like(b)
    h = _in_a_row(a, b, zeros[:, :, 0], 2, backwards)  # (B, T / C, C, D)
    product = _in_a_row(a, zeros, torch.ones_like(zeros[:, :, 0]), 2, backwards)
    last, before, first = (0, -1, -1) if backwards else (-1, 1, 0)
    starts = _in_a_row(product[:, :, last], h[:, :, last], h0, 1, backwards).roll(before, 1)
    starts[:, first] = h0
    return h.addcmul_(product, starts.unsqueeze(2)).flatten(1, 2)[:, :length]
