"""Maps from the last states of an encoder to the first state of a decoder."""

from math import prod

from torch import Tensor, nn


class Bridge(nn.Module):
    """state_0 = tanh(W flatten(summary) + b), of any shape from any shape.

    After Bahdanau et al. (2015, A.2.2, arXiv:1409.0473), who read the last state of the backward layer alone.

    Args:
        summary_shape: (L, D') of the summary.
        state_shape: (N, H) of the decoder's state.
    """

    def __init__(self, summary_shape: tuple[int, int], state_shape: tuple[int, int]) -> None:
        super().__init__()
        self.state_shape = state_shape
        self.linear = nn.Linear(prod(summary_shape), prod(state_shape))
        nn.init.xavier_uniform_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, summary: Tensor) -> Tensor:
        """Summary (B, L, D') -> state (B, N, H)."""
        state: Tensor = self.linear(summary.flatten(1)).tanh()
        return state.view(-1, *self.state_shape)


def bridge(summary_shape: tuple[int, int], state_shape: tuple[int, int]) -> nn.Module:
    """A decoder shaped like the encoder takes over its states as they are (Sutskever et al., 2014); others a Bridge."""
    return nn.Identity() if summary_shape == state_shape else Bridge(summary_shape, state_shape)
