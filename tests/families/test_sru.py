"""SRU of both versions of the paper against its equations, and the laws for the first."""

import pytest
import torch
from torch import Tensor

from s2s_lightning.families import SRU
from s2s_lightning.families.sru import SRULayer
from s2s_lightning.testing import SRC_VOCAB, TGT_VOCAB, Law
from tests.families.elementwise import assert_layer_is_its_steps
from tests.families.laws import LAWS


@pytest.mark.parametrize("both_ways", [False, True])
@pytest.mark.parametrize("peephole", [False, True])
def test_sru_computes_its_equations(both_ways: bool, peephole: bool) -> None:
    layer = SRULayer(4, both_ways, peephole=peephole, highway_bias=-1.0)
    alpha = (1 + 2 * 2.718281828459045**-1) ** 0.5 if peephole else 1.0

    def step(x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        w, w_f, w_r = layer.linear.weight.chunk(3)
        b, b_f, b_r = layer.linear.bias.chunk(3)
        v_f, v_r = layer.v if peephole else (0.0, 0.0)
        f = torch.sigmoid(w_f @ x + v_f * c + b_f)
        r = torch.sigmoid(w_r @ x + v_r * c + b_r)
        c = f * c + (1 - f) * (w @ x + b)
        return r * c + (1 - r) * x * alpha, c

    assert_layer_is_its_steps(layer, step, torch.randn(3, 4, dtype=torch.float64))


def test_an_untrained_layer_keeps_the_variance_of_its_input() -> None:
    """What alpha and the variances of the matrices are for."""
    torch.manual_seed(0)
    layer = SRULayer(256)
    x = torch.randn(4, 100, 256)
    y, _ = layer(x, layer.zeros(x))
    assert y.var().item() == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_the_first_version_keeps_the_law(law: Law) -> None:
    torch.manual_seed(0)
    sizes = {"d_model": 8, "num_heads": 2, "d_ff": 12, "num_encoder_layers": 2, "num_decoder_layers": 2}
    law.check(SRU(SRC_VOCAB, TGT_VOCAB, **sizes, peephole=False).double().eval().model)
