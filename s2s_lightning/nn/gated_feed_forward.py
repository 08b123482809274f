"""Feed-forward layers with a gate (Shazeer, 2020, arXiv:2002.05202)."""

from collections.abc import Callable
from functools import partial
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from s2s_lightning.errors import check_at_least

Gate = Literal["swiglu", "geglu"]
GATES: dict[str, Callable[[Tensor], Tensor]] = {"swiglu": F.silu, "geglu": partial(F.gelu, approximate="tanh")}
"""GELU by its tanh approximation, as in Gemma's code."""


class GatedFeedForward(nn.Module):
    """W2 (f(W x) * V x) at each position, without biases: f is SiLU in SwiGLU, GELU in GeGLU.

    Three matrices instead of two: the paper takes 2/3 of the inner width, so that parameters are equal.

    Args:
        d_model: D of input and output.
        d_ff: width between.
        gate: which f.
    """

    def __init__(self, d_model: int, d_ff: int, gate: Gate) -> None:
        super().__init__()
        check_at_least(1, d_ff=d_ff)
        self.gate = nn.Linear(d_model, d_ff, bias=False)
        self.inner = nn.Linear(d_model, d_ff, bias=False)
        self.outer = nn.Linear(d_ff, d_model, bias=False)
        self.activation = GATES[gate]

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.outer(self.activation(self.gate(x)) * self.inner(x))
        return y
