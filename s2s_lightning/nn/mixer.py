"""What takes the place of self-attention where a state is carried instead of a cache."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn


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
        outputs: Tensor = self(x, self.start(len(x), x), padding)[0]
        return outputs
