"""Recurrent layers whose matrix products do not wait for time: what is left in a step is channel by channel.

Shape letters: B batch, T time, D width of the state.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from s2s_lightning.nn import gradient_taps
from s2s_lightning.nn.scan import hold, scan, single, turn


class ScanLayer(nn.Module):
    """A layer with a state (B, D), each of whose channels reads in its own direction.

    Args:
        d_model: D, even for both ways.
        both_ways: the first half of the channels reads forwards and the second backwards.
    """

    def __init__(self, d_model: int, *, both_ways: bool = False) -> None:
        super().__init__()
        self.d_model = d_model
        self.both_ways = both_ways

    def zeros(self, x: Tensor) -> Tensor:
        """The state (B, D) before the first step, for x (B, ...): float32 at least, as a scan's is."""
        return single(x.new_zeros(x.shape[0], self.d_model))

    def scan(self, a: Tensor, b: Tensor, state: Tensor, padding: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return all states (B, T, D) of h_t = a_t * h_{t-1} + b_t, and the last; padding (B, T) keeps the state."""
        if padding is not None:
            a, b = hold(a, b, padding)
        a, b = self.turn(a), self.turn(b)
        if (trace := gradient_taps.new_trace()) is not None:  # what is added to b_t is added to h_t
            b = torch.stack([trace(b_t) for b_t in b.unbind(1)], 1)
        h = scan(a, b, state)
        return self.turn(h), h[:, -1]

    def turn(self, x: Tensor) -> Tensor:
        """Turn to the order in which each channel reads, and back."""
        return turn(x) if self.both_ways else x


class ElementwiseRecurrence(ScanLayer, ABC):
    """A layer from (B, T, D) to (B, T, D)."""

    @abstractmethod
    def forward(self, x: Tensor, state: Tensor, padding: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map x (B, T, D) after the state (B, D) to (B, T, D), and the state after it, which padding (B, T) keeps."""

    @abstractmethod
    def reset_parameters(self) -> None:
        """Initialise what shall not have Xavier matrices and biases of 0."""
