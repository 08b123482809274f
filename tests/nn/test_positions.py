"""Closed forms and invariances of the kinds of positions."""

import math

import pytest
import torch

from s2s_lightning.nn.positions import (
    LearnedPositions,
    Positions,
    RotaryPositions,
    SinusoidalPositions,
    rotate,
)


def test_sinusoidal_positions_are_the_formula_of_the_paper() -> None:
    added = SinusoidalPositions()(torch.zeros(1, 9, 6, dtype=torch.float64), torch.arange(9))[0]
    for t in range(9):
        for i in range(3):
            angle = t / 10000 ** (2 * i / 6)
            assert added[t, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-12)
            assert added[t, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-12)


@pytest.mark.parametrize("positions", [SinusoidalPositions(), LearnedPositions(20, 6)], ids=["sinusoidal", "learned"])
def test_each_row_may_have_positions_of_its_own(positions: Positions) -> None:
    x = torch.randn(2, 3, 6)
    position = torch.tensor([[0, 1, 2], [7, 8, 9]])
    together = positions(x, position)
    for row in range(2):
        assert torch.equal(together[row], positions(x[row : row + 1], position[row])[0])


def test_positions_beyond_the_last_learned_one_share_it() -> None:
    positions = LearnedPositions(3, 4)
    added = positions(torch.zeros(1, 5, 4), torch.arange(5))[0]
    assert torch.equal(added[2:], positions.weight[2].expand(3, -1))


def test_rotated_products_depend_on_the_distance_alone() -> None:
    rotary = RotaryPositions(8)
    q, k = torch.randn(2, 1, 1, 1, 8, dtype=torch.float64)
    near = torch.arange(5)

    def product(query_at: torch.Tensor, key_at: torch.Tensor) -> torch.Tensor:
        return (rotate(q, rotary.rotation(q, query_at)) * rotate(k, rotary.rotation(k, key_at))).sum(-1)

    torch.testing.assert_close(product(near, near + 3), product(near + 100, near + 103), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(product(near, near), (q * k).sum(-1).expand(1, 1, 5), rtol=1e-12, atol=1e-12)


def test_rotation_by_rows_is_rotation_of_each_row() -> None:
    rotary = RotaryPositions(8)
    x = torch.randn(2, 3, 4, 8)
    position = torch.tensor([[0, 1, 2, 3], [5, 6, 7, 8]])
    together = rotate(x, rotary.rotation(x, position))
    for row in range(2):
        assert torch.equal(together[row], rotate(x[row], rotary.rotation(x, position[row])))
