"""Parity with ``conv1d`` over the whole sequence (light) and a loop over positions (dynamic), and the laws."""

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from s2s_lightning.errors import UserError
from s2s_lightning.families.lightconv import ConvolutionalLayers, DynamicConv, LightConv, LightConvEncoder
from s2s_lightning.nn.attention import CrossAttention
from s2s_lightning.nn.lightweight_convolution import CausalConvolution, CentredConvolution, LightweightKernels
from s2s_lightning.testing import SRC_VOCAB, TGT_VOCAB, Law
from tests.families.laws import LAWS

D, HEADS = 8, 2
SIZES = {
    "d_model": D,
    "num_heads": HEADS,
    "d_ff": 12,
    "encoder_kernel_sizes": [3, 5],
    "decoder_kernel_sizes": [2, 9],
}
KINDS = [LightConv, DynamicConv]


def build(family: type[LightConv] | type[DynamicConv], **options: Any) -> LightConv | DynamicConv:
    torch.manual_seed(0)
    return family(SRC_VOCAB, TGT_VOCAB, **{**SIZES, **options}).eval()


def convolution(block: CentredConvolution | CausalConvolution, x: Tensor, before: int) -> Tensor:
    """The block on the whole sequence x (1, T, D), ``before`` of whose kernel's weights are for earlier positions."""
    a, b = block.input(x).chunk(2, -1)
    gated = a * b.sigmoid()
    mixed = (conv1d if isinstance(block.kernels, LightweightKernels) else loop)(block, gated, before)
    return F.linear(mixed, block.output.weight, block.output.bias)


def conv1d(block: CentredConvolution | CausalConvolution, x: Tensor, before: int) -> Tensor:
    weight = block.kernels.weight.softmax(-1)  # (H, 1, k)
    padded = F.pad(x.mT, (before, weight.shape[-1] - 1 - before))
    return F.conv1d(padded, weight.repeat_interleave(D // HEADS, 0), groups=D).mT


def loop(block: CentredConvolution | CausalConvolution, x: Tensor, before: int) -> Tensor:
    """Kernels predicted by one head of one position at a time, and zeros beyond the ends."""
    weight = block.kernels.weight.view(HEADS, -1, D)  # (H, k, D)
    y = torch.zeros_like(x)
    for t, head in product(range(x.shape[1]), range(HEADS)):
        channels = slice(head * D // HEADS, (head + 1) * D // HEADS)
        for j, w in enumerate((weight[head] @ x[0, t]).softmax(0)):
            if 0 <= t + j - before < x.shape[1]:
                y[0, t, channels] += w * x[0, t + j - before, channels]
    return y


def attend(attention: CrossAttention, x: Tensor, states: Tensor) -> Tensor:
    reference = nn.MultiheadAttention(D, HEADS, batch_first=True, dtype=x.dtype)
    projections = attention.query, attention.key, attention.value
    reference.in_proj_weight = nn.Parameter(torch.cat([p.weight for p in projections]))
    reference.in_proj_bias = nn.Parameter(torch.cat([p.bias for p in projections]))
    reference.out_proj = attention.output
    return reference(x, states, states)[0]


@pytest.mark.parametrize(("family", "dtype"), [(LightConv, torch.float32), (DynamicConv, torch.float64)])
def test_it_computes_the_whole_sequence_at_once(family: type[Any], dtype: torch.dtype) -> None:
    model = build(family, norm="post").to(dtype).model
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    x, y = torch.randn(1, 7, D, dtype=dtype), torch.randn(1, 6, D, dtype=dtype)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-10

    memory = model.encoder(x, torch.zeros(1, 7, dtype=torch.bool))
    states = model.encoder.positions(x, torch.arange(7))
    for layer, k in zip(model.encoder.layers, SIZES["encoder_kernel_sizes"], strict=True):
        states = layer.convolution_residual.norm(states + convolution(layer.convolution, states, k // 2))
        states = layer.feed_forward_residual.norm(states + layer.feed_forward(states))
    torch.testing.assert_close(memory.states, states, rtol=tolerance, atol=tolerance)

    h = model.decoder.positions(y, torch.arange(6))
    for layer, k in zip(model.decoder.layers, SIZES["decoder_kernel_sizes"], strict=True):
        h = layer.convolution_residual.norm(h + convolution(layer.convolution, h, k - 1))
        h = layer.cross_attention_residual.norm(h + attend(layer.cross_attention, h, states))
        h = layer.feed_forward_residual.norm(h + layer.feed_forward(h))
    hidden = model.decoder(y, model.decoder.start(memory)).hidden
    torch.testing.assert_close(hidden, h, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("law", LAWS, ids=str)
@pytest.mark.parametrize("family", KINDS)
@pytest.mark.parametrize(("norm", "positions"), [("pre", "sinusoidal"), ("post", "learned")])
def test_every_variant_keeps_the_law(law: Law, family: type[Any], norm: str, positions: str) -> None:
    law.check(build(family, norm=norm, positions=positions, max_positions=5).double().model)


@pytest.mark.parametrize("family", KINDS)
@pytest.mark.parametrize("kind", ["dropout", "kernel_dropout", "attention_dropout", "activation_dropout", "layer_drop"])
def test_each_dropout_acts_in_training_alone(family: type[Any], kind: str) -> None:
    model = build(family, **{"dropout": 0.0, "kernel_dropout": 0.0, kind: 0.5}).model
    src, tgt_in = torch.randint(4, TGT_VOCAB, (2, 6, 5))
    padding = torch.zeros_like(src, dtype=torch.bool)

    def hidden() -> Tensor:
        return model(tgt_in, model.start(src, padding)).hidden

    assert torch.equal(hidden(), hidden())
    model.train()
    assert not torch.equal(hidden(), hidden())


def test_an_even_kernel_of_the_encoder_is_refused_by_name() -> None:
    with pytest.raises(UserError, match="kernel of 4 has no middle"):
        LightConvEncoder(D, [3, 4])


def test_rotary_positions_are_refused() -> None:
    with pytest.raises(UserError, match="positions=rotary"):
        LightConvEncoder(D, [3], layers=ConvolutionalLayers(positions="rotary"))


def test_a_kernel_of_nothing_is_refused() -> None:
    with pytest.raises(UserError, match=r"decoder_kernel_sizes=\[0\]"):
        build(LightConv, decoder_kernel_sizes=[0])
