"""Parity with ``conv1d`` over the whole sequence on copied weights, and the laws."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from s2s_lightning.errors import UserError
from s2s_lightning.families.convs2s import ConvS2S, ConvS2SDecoder, ConvS2SEncoder
from s2s_lightning.nn.convolution import GatedConvolution
from s2s_lightning.testing import SRC_VOCAB, TGT_VOCAB, Law
from tests.families.laws import BASIC, LAWS

SIZES = {"d_embedding": 6, "d_model": 8, "num_encoder_layers": 2, "num_decoder_layers": 2, "max_positions": 30}


def build(**options: Any) -> ConvS2S:
    torch.manual_seed(0)
    return ConvS2S(SRC_VOCAB, TGT_VOCAB, **{**SIZES, **options}).eval()


def gated_conv1d(convolution: GatedConvolution, x: Tensor, before: int, after: int) -> Tensor:
    """Put x (B, T, D) through torch's convolution over channels first, with zeros before and after it."""
    k = convolution.kernel_size
    kernel = convolution.linear.weight.view(-1, k, x.shape[-1]).transpose(1, 2)  # (out, in, k)
    y = F.conv1d(F.pad(x.transpose(1, 2), (before, after)), kernel, convolution.linear.bias)
    return F.glu(y, 1).transpose(1, 2)


def encode(encoder: ConvS2SEncoder, x: Tensor) -> tuple[Tensor, Tensor]:
    """One sentence without padding, as the paper writes it: states and values."""
    embedded = x + encoder.positions.weight[: x.shape[1]]
    h = encoder.input(embedded)
    for convolution in encoder.convolutions:
        margin = convolution.kernel_size // 2
        h = (gated_conv1d(convolution, h, margin, margin) + h) * 0.5**0.5
    states = encoder.output(h)
    return states, (states + embedded) * 0.5**0.5


def decode(decoder: ConvS2SDecoder, y: Tensor, states: Tensor, values: Tensor) -> Tensor:
    """The whole target at once, one sentence."""
    embedded = y + decoder.positions.weight[: y.shape[1]]
    h = decoder.input(embedded)
    for layer in decoder.layers:
        z = gated_conv1d(layer.convolution, h, layer.convolution.kernel_size - 1, 0)
        scores = (layer.query(z) + embedded) * 0.5**0.5 @ states.transpose(1, 2)
        context = scores.softmax(-1) @ values * states.shape[1] ** 0.5
        h = ((layer.context(context) + z) * 0.5**0.5 + h) * 0.5**0.5
    return decoder.output(h)


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_it_computes_what_conv1d_over_the_whole_sequence_computes(kernel_size: int) -> None:
    model = build(kernel_size=kernel_size).model
    x, y = torch.randn(1, 7, 6), torch.randn(1, 4, 6)
    memory = model.encoder(x, torch.zeros(1, 7, dtype=torch.bool))
    states, values = encode(model.encoder, x)
    torch.testing.assert_close(memory.states, states, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(memory.values, values, rtol=1e-5, atol=1e-5)
    hidden = model.decoder(y, model.decoder.start(memory)).hidden
    torch.testing.assert_close(hidden, decode(model.decoder, y, states, values), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("law", LAWS, ids=str)
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_every_variant_keeps_the_law(law: Law, kernel_size: int) -> None:
    law.check(build(kernel_size=kernel_size).double().model)


def test_more_positions_than_learned_ones_still_keep_the_law() -> None:
    for law in BASIC:
        law.check(build(max_positions=4).double().model)


def test_the_encoder_gets_its_gradient_divided_by_the_attentions() -> None:
    model = build(num_decoder_layers=3).double().model
    x = torch.randn(1, 5, 6, dtype=torch.float64)
    states = model.encoder(x, torch.zeros(1, 5, dtype=torch.bool)).states
    (scaled,) = torch.autograd.grad(states.sum(), model.encoder.output.bias)
    torch.testing.assert_close(scaled, torch.full_like(scaled, 5 / 3))


def test_variance_stays_of_order_one_through_a_deep_stack() -> None:
    torch.manual_seed(0)
    model = ConvS2S(50, d_embedding=64, d_model=64, num_encoder_layers=12, dropout=0.0).model
    padding = torch.zeros(8, 20, dtype=torch.bool)
    memory = model.encoder(model.src_embedding(torch.randint(4, 50, (8, 20))), padding)
    embedded = model.src_embedding.weight[4:].std() * model.src_embedding.scale
    assert 0.3 < memory.states.std() / embedded < 3


def test_an_even_kernel_is_refused_by_name() -> None:
    with pytest.raises(UserError, match="kernel_size=4 has no middle"):
        build(kernel_size=4)


def test_layers_that_read_what_dropout_has_enlarged_begin_smaller() -> None:
    torch.manual_seed(0)
    model = ConvS2S(4000, 4000, d_embedding=256, d_model=256, dropout=0.5).model
    plain, enlarged = 256**-0.5, (0.5 / 256) ** 0.5
    expected = {
        "encoder.input": enlarged, "decoder.input": enlarged, "encoder.output": plain, "decoder.output": plain,
    }  # fmt: skip
    for name, std in expected.items():
        assert abs(float(model.get_submodule(name).weight.std()) / std - 1) < 0.05, name  # type: ignore[arg-type,operator,union-attr]
    assert abs(float(model.readout.weight.std()) / enlarged - 1) < 0.05  # type: ignore[arg-type,operator,union-attr]
