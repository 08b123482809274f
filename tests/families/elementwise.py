"""A layer of a padded batch against its equations for one step of one sentence."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from s2s_lightning.nn.elementwise_recurrence import ElementwiseRecurrence

LENGTHS = (6, 1, 4)
Step = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""From an input (D,) and the last state (D,) to the output (D,) and the next state (D,)."""


def assert_layer_is_its_steps(layer: ElementwiseRecurrence, step: Step, first: Tensor | None = None) -> None:
    """Outputs of real positions and last states, forwards or both ways, from ``first`` (B, D) or from zeros."""
    layer.double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    x = torch.randn(3, 6, layer.d_model, dtype=torch.float64)
    padding = torch.arange(6) >= torch.tensor(LENGTHS)[:, None]
    start = layer.zeros(x) if first is None else first
    y, last = layer(x, start, padding)
    for row, length in enumerate(LENGTHS):
        expected, state = walk(step, x[row, :length], start[row])
        if layer.both_ways:
            back, state_back = walk(step, x[row, :length].flip(0), start[row])
            expected = halves(expected, back.flip(0))
            state = halves(state, state_back)
        torch.testing.assert_close(y[row, :length], expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(last[row], state, rtol=0, atol=1e-12)


def walk(step: Step, x: Sequence[Tensor], state: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs (T, D) and the last state (D,)."""
    outputs = []
    for x_t in x:
        y, state = step(x_t, state)
        outputs.append(y)
    return torch.stack(outputs), state


def halves(one: Tensor, other: Tensor) -> Tensor:
    """The first half of the channels of one, the second of the other."""
    return torch.cat([one.chunk(2, -1)[0], other.chunk(2, -1)[1]], -1)
