"""Mixers, which take the place of self-attention and carry a state instead of a cache."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from s2s_lightning.nn import gradient_taps


class Mixer(nn.Module, ABC):
    """A recurrence over positions: each output depends on its own input and on what came before.

    ``d_model`` is D of input and output. The carry is a tree of tensors with the batch on dimension 0, of a size that
    does not depend on how much was read, in float32 at least. A call never changes the carry it was given, and any
    split of a sequence into pieces gives the outputs of one call. A mixer initialises itself.
    """

    d_model: int

    @abstractmethod
    def start(self, rows: int, like: Tensor) -> Any:
        """The carry before the first position, for so many rows, on the device of ``like``, in its type or better."""

    @abstractmethod
    def forward(self, x: Tensor, carry: Any, padding: Tensor | None = None) -> tuple[Tensor, Any]:
        """Go on from a carry.

        Args:
            x: (B, T, D), T >= 1.
            carry: of the last call, or of ``start``.
            padding: (B, T), True at positions that leave the carry as it is and whose outputs mean nothing. They stand
                behind what is real or, from ``start``, in front of it. None: all is real.

        Returns:
            outputs (B, T, D), and the carry after them.
        """

    def read(self, x: Tensor, padding: Tensor) -> Tensor:
        """Whole sequences from the start: x (B, T, D), padding (B, T) -> outputs (B, T, D)."""
        carry = self.start(x.shape[0], x)
        if (trace := gradient_taps.new_trace()) is not None:
            return self._read_stepwise(x, carry, padding, trace)
        outputs: Tensor = self(x, carry, padding)[0]
        return outputs

    def _read_stepwise(self, x: Tensor, carry: Any, padding: Tensor, trace: gradient_taps.Trace) -> Tensor:
        outputs = []
        for x_t, padding_t in zip(torch.split(x, 1, 1), torch.split(padding, 1, 1), strict=True):
            y, carry = self(x_t, carry, padding_t)
            carry = trace(carry)
            outputs.append(y)
        return torch.cat(outputs, 1)
