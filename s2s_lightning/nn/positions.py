"""Positions of tokens in a Transformer. They count from 0, (T,) or, row by row, (B, T).

Shape letter: d width of a head.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from s2s_lightning.errors import check_at_least


class Rotation(NamedTuple):
    """cos and sin of each position's angles, (1, T, d/2) or (B, 1, T, d/2): for heads (B, H, T, d)."""

    cos: Tensor
    sin: Tensor


class Positions(nn.Module):
    """A kind of positions: adds something to the embeddings, or rotates queries and keys. This one does neither."""

    def forward(self, x: Tensor, position: Tensor) -> Tensor:
        """Add to x (B, T, D)."""
        return x

    def rotation(self, x: Tensor, position: Tensor) -> Rotation | None:
        """Return the rotation of queries and keys, in the type of x; None for no rotation."""
        return None


class SinusoidalPositions(Positions):
    """PE(t, 2i) = sin(t / 10000^(2i/D)) and PE(t, 2i+1) = cos of the same.

    Vaswani et al. (2017, 3.5, arXiv:1706.03762).
    """

    def forward(self, x: Tensor, position: Tensor) -> Tensor:
        angle = angles(position, x.shape[-1])
        return x + torch.stack((angle.sin(), angle.cos()), -1).flatten(-2).to(x.dtype)


class LearnedPositions(Positions):
    """A vector for each position (Gehring et al., 2017, 3.1, arXiv:1705.03122).

    Positions from ``max_positions`` on share the last vector: a longer sentence is read, with less sense of order.

    Args:
        max_positions: positions with a vector of their own.
        d_model: D.
        std: standard deviation of the initial vectors.
    """

    def __init__(self, max_positions: int, d_model: int, std: float = 0.02) -> None:
        super().__init__()
        check_at_least(1, max_positions=max_positions)
        self.weight = nn.Parameter(torch.empty(max_positions, d_model))
        nn.init.normal_(self.weight, std=std)

    def forward(self, x: Tensor, position: Tensor) -> Tensor:
        return x + nn.functional.embedding(position.clamp(max=len(self.weight) - 1), self.weight)


class RotaryPositions(Positions):
    """Rotary positions (Su et al., 2021, 3.2, arXiv:2104.09864): q . k depends on positions by their distance alone.

    Dimension i turns together with i + d/2; the paper pairs neighbours, which is the same up to a permutation.

    Args:
        d_head: d.
    """

    def __init__(self, d_head: int) -> None:
        super().__init__()
        self.d_head = d_head

    def rotation(self, x: Tensor, position: Tensor) -> Rotation:
        angle = angles(position, self.d_head).unsqueeze(-3)
        return Rotation(angle.cos().to(x.dtype), angle.sin().to(x.dtype))


def angles(position: Tensor, width: int) -> Tensor:
    """Return t / 10000^(2i/width) of position t for i < width/2: (..., T) -> (..., T, width/2), in float64."""
    exponent = torch.arange(0, width, 2, device=position.device, dtype=torch.float64) / width
    return position.unsqueeze(-1) * 10000.0**-exponent


def rotate(x: Tensor, rotation: Rotation | None) -> Tensor:
    """Turn queries or keys (B, H, T, d) by their positions."""
    if rotation is None:
        return x
    a, b = x.chunk(2, -1)
    cos, sin = rotation
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


def ends(padding: Tensor) -> Tensor:
    """Behind the last real position of each row: padding (B, T) -> (B,), 0 for a row without any."""
    places = torch.arange(1, padding.shape[1] + 1, device=padding.device)
    return places.masked_fill(padding, 0).amax(1)
