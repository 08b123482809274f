"""Parity with Qwen3-Next's layer on copied weights, the plain layer in a float64 loop, the laws for every variant."""

from typing import Any

import pytest
import torch
from torch import Tensor

from s2s_lightning.errors import UserError
from s2s_lightning.families.deltanet import DeltaNet, DeltaRule, GatedDeltaNet, GatedDeltaRule
from s2s_lightning.model import Seq2Seq
from s2s_lightning.testing import SRC_VOCAB, TGT_VOCAB, Law
from tests.families.laws import LAWS

HEADS, D, VALUES, KERNEL = 2, 8, 12, 4


def build(family: type[DeltaNet | GatedDeltaNet], **options: Any) -> Seq2Seq:
    torch.manual_seed(0)
    sizes = {"d_model": 8, "num_heads": 2, "d_ff": 12, "num_encoder_layers": 2, "num_decoder_layers": 2, **options}
    return family(SRC_VOCAB, TGT_VOCAB, **sizes).eval().double().model


def layer(kind: type[DeltaRule]) -> DeltaRule:
    """With all its parameters random, so that a parity cannot hold by their absence."""
    torch.manual_seed(0)
    mixer = kind(D, num_heads=HEADS, d_value=VALUES, kernel_size=KERNEL)
    for parameter in mixer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return mixer


@torch.no_grad()
def qwen_layer(ours: GatedDeltaRule) -> torch.nn.Module:
    """The reference with our weights; it has queries, keys, values and gate of a head side by side."""
    qwen = pytest.importorskip("transformers.models.qwen3_next.modeling_qwen3_next")
    config = qwen.Qwen3NextConfig(
        hidden_size=D,
        linear_num_key_heads=HEADS,
        linear_num_value_heads=HEADS,
        linear_key_head_dim=D // HEADS,
        linear_value_head_dim=VALUES // HEADS,
        linear_conv_kernel_dim=KERNEL,
        rms_norm_eps=1e-5,
        num_hidden_layers=1,
        layer_types=["linear_attention"],
    )
    reference = qwen.Qwen3NextGatedDeltaNet(config, 0).eval()
    q, k, v, beta, decay, gate = (
        part.unflatten(0, (HEADS, -1)) for part in ours.input.weight.split([D, D, VALUES, HEADS, HEADS, VALUES])
    )
    reference.in_proj_qkvz.weight.copy_(torch.cat([q, k, v, gate], 1).flatten(0, 1))
    reference.in_proj_ba.weight.copy_(torch.cat([beta, decay], 1).flatten(0, 1))
    reference.conv1d.weight.copy_(ours.convolution.weight.unsqueeze(1))
    reference.A_log.copy_(ours.log_rate)
    reference.dt_bias.copy_(ours.decay_bias)
    reference.norm.weight.copy_(ours.norm.weight)
    reference.out_proj.weight.copy_(ours.output.weight)
    return reference


def test_the_gated_layer_computes_what_qwen3_next_computes() -> None:
    ours = layer(GatedDeltaRule)
    reference, x = qwen_layer(ours), torch.randn(3, 70, D)
    padding = torch.arange(70) >= torch.tensor([[70], [33], [1]])
    expected = reference(x, attention_mask=(~padding).long())
    torch.testing.assert_close(ours.read(x, padding)[~padding], expected[~padding], rtol=1e-5, atol=1e-5)


def delta_loop(mixer: DeltaRule, x: Tensor) -> Tensor:
    """Of x (T, D), position by position: the equations of Yang et al. (2024, 3.3), and the authors' code's norm."""
    silu = torch.nn.functional.silu
    products = x @ mixer.input.weight.T
    states = [torch.zeros(VALUES // HEADS, D // HEADS, dtype=x.dtype) for _ in range(HEADS)]
    out = []
    for t in range(len(x)):
        past = range(max(0, t - KERNEL + 1), t + 1)
        read = sum(products[s, : 2 * D + VALUES] * mixer.convolution.weight[:, KERNEL - 1 - t + s] for s in past)
        qkv = silu(read).split([D, D, VALUES])
        beta = 1 / (1 + torch.exp(-products[t, 2 * D + VALUES :]))
        heads = []
        for h in range(HEADS):
            q, k, v = (part.chunk(HEADS)[h] for part in qkv)
            q, k = (y / (y @ y + 1e-6).sqrt() for y in (q, k))
            states[h] = states[h] - beta[h] * torch.outer(states[h] @ k - v, k)
            o = states[h] @ q / len(q) ** 0.5
            heads.append(o / (o.square().mean() + 1e-5).sqrt() * mixer.norm.weight)
        out.append(mixer.output.weight @ torch.cat(heads))
    return torch.stack(out)


def test_the_plain_layer_is_the_papers_loop() -> None:
    mixer = layer(DeltaRule).double()
    x = torch.randn(2, 75, D, dtype=torch.float64)
    y, _ = mixer(x, mixer.start(2, x))
    for row in range(2):
        torch.testing.assert_close(y[row], delta_loop(mixer, x[row]), rtol=0, atol=1e-9)


@pytest.mark.parametrize("law", LAWS, ids=str)
@pytest.mark.parametrize("options", [{}, {"num_heads": 1, "d_value": 6, "kernel_size": 1}])
@pytest.mark.parametrize("family", [DeltaNet, GatedDeltaNet])
def test_every_variant_keeps_the_law(law: Law, options: dict[str, Any], family: type[DeltaNet | GatedDeltaNet]) -> None:
    law.check(build(family, **options))


def test_a_decay_begins_as_a_rate_times_a_step() -> None:
    """Rates between .01 and 16, steps between .001 and .1: it forgets at most four fifths."""
    mixer = GatedDeltaRule(256, num_heads=256, d_value=256, kernel_size=1)
    rate, step = mixer.log_rate.exp(), torch.nn.functional.softplus(mixer.decay_bias)
    assert 0.009 < rate.min() < 1 < 15 < rate.max() < 16.01
    assert 0.0009 < step.min() < 0.0015 < 0.08 < step.max() < 0.1001
    assert (-rate * step).exp().min() > 0.2


@pytest.mark.parametrize("name", ["d_model", "d_value"])
def test_a_width_that_the_heads_cannot_share_is_refused_by_name(name: str) -> None:
    with pytest.raises(UserError, match=f"{name}=9 is no multiple of num_heads=2"):
        build(DeltaNet, **{name: 9})
