"""minGRU and minLSTM against their equations, and the laws for their variants."""

import pytest
import torch
from torch import Tensor

from s2s_lightning.families import MinGRU, MinLSTM
from s2s_lightning.families.minrnn import MinGRULayer, MinLSTMLayer, _MinRNN, positive
from s2s_lightning.testing import SRC_VOCAB, TGT_VOCAB, Law
from tests.families.elementwise import assert_layer_is_its_steps
from tests.families.laws import LAWS

both_ways = pytest.mark.parametrize("both_ways", [False, True])
positive_states = pytest.mark.parametrize("positive_states", [False, True])


def candidate(x: Tensor, above_zero: bool) -> Tensor:
    """Of one step, g by its two cases."""
    if not above_zero:
        return x
    return torch.stack([v + 0.5 if v >= 0 else 1 / (1 + (-v).exp()) for v in x])


@both_ways
@positive_states
def test_mingru_computes_its_equations(both_ways: bool, positive_states: bool) -> None:
    layer = MinGRULayer(4, both_ways, positive_states=positive_states)

    def step(x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        w_z, w_h = layer.linear.weight.chunk(2)
        b_z, b_h = layer.linear.bias.chunk(2)
        z = torch.sigmoid(w_z @ x + b_z)
        h = (1 - z) * h + z * candidate(w_h @ x + b_h, positive_states)
        return h, h

    assert_layer_is_its_steps(layer, step, torch.randn(3, 4, dtype=torch.float64))


@both_ways
@positive_states
def test_minlstm_computes_its_equations(both_ways: bool, positive_states: bool) -> None:
    layer = MinLSTMLayer(4, both_ways, positive_states=positive_states)

    def step(x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        w_f, w_i, w_h = layer.linear.weight.chunk(3)
        b_f, b_i, b_h = layer.linear.bias.chunk(3)
        f, i = torch.sigmoid(w_f @ x + b_f), torch.sigmoid(w_i @ x + b_i)
        h = f / (f + i) * h + i / (f + i) * candidate(w_h @ x + b_h, positive_states)
        return h, h

    assert_layer_is_its_steps(layer, step, torch.randn(3, 4, dtype=torch.float64))


def test_g_is_continuous_increasing_and_above_zero() -> None:
    y = positive(torch.linspace(-9, 9, 1801, dtype=torch.float64))
    assert y.min() > 0
    assert (y.diff() > 0).all()
    assert y.diff().max() < 0.011


@pytest.mark.parametrize("layer", [MinGRULayer(2), MinLSTMLayer(2)])
def test_gates_far_beyond_saturation_give_no_nan(layer: MinGRULayer | MinLSTMLayer) -> None:
    torch.nn.init.constant_(layer.linear.weight, -1e4)
    x = torch.ones(1, 40, 2, requires_grad=True)
    y, _ = layer(x, layer.zeros(x))
    y.sum().backward()
    assert y.isfinite().all()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("law", LAWS, ids=str)
@pytest.mark.parametrize("family", [MinGRU, MinLSTM])
def test_positive_states_keep_the_law(law: Law, family: type[_MinRNN]) -> None:
    torch.manual_seed(0)
    sizes = {"d_model": 8, "num_heads": 2, "d_ff": 12, "num_encoder_layers": 2, "num_decoder_layers": 2}
    law.check(family(SRC_VOCAB, TGT_VOCAB, **sizes, positive_states=True).double().eval().model)
