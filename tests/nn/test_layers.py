"""LayerDrop against the statistics of what it draws."""

import math

import pytest
import torch

from s2s_lightning.errors import UserError
from s2s_lightning.nn.layers import LayerDrop, pass_through


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_a_layer_is_left_out_at_the_rate_p_for_each_sentence_on_its_own(p: float) -> None:
    torch.manual_seed(0)
    rows = 20_000
    drawn = torch.stack(LayerDrop(p, 3)(torch.randn(rows, 1, 1))).double()
    bound = 5 * math.sqrt(p * (1 - p) / rows)
    assert drawn.mean((1, 2, 3)).tolist() == pytest.approx([1 - p] * 3, abs=bound)
    centred = drawn - (1 - p)
    assert (centred[0] * centred[1]).mean().abs() < bound
    assert (centred[:, 1:] * centred[:, :-1]).mean().abs() < bound


def test_all_layers_take_part_outside_training() -> None:
    x = torch.randn(4, 2, 2)
    assert LayerDrop(0.9, 2).eval()(x) == [None, None]
    assert LayerDrop(0.0, 2)(x) == [None, None]
    assert pass_through(None, x, x + 1) is x


def test_what_passes_is_not_scaled() -> None:
    before, after = torch.zeros(3, 2, 2), torch.ones(3, 2, 2)
    passing = torch.tensor([True, False, True]).view(3, 1, 1)
    assert pass_through(passing, after, before)[:, 0, 0].tolist() == [1, 0, 1]


@pytest.mark.parametrize("p", [-0.1, 1.0])
def test_no_probability_is_refused_by_name(p: float) -> None:
    with pytest.raises(UserError, match=f"layer_drop={p}"):
        LayerDrop(p, 2)
