"""Parity with the torch path of Hugging Face's Mamba2Model on copied weights, and the laws for variants."""

from typing import Any

import pytest
import torch
from torch import nn

from s2s_lightning.families.mamba2 import Mamba2, Mamba2Mixer
from s2s_lightning.model import Memory
from s2s_lightning.testing import SRC_VOCAB, TGT_VOCAB, Law
from tests.families.laws import LAWS

SIZES = {"d_model": 8, "num_heads": 2, "d_ff": 12, "num_encoder_layers": 2, "num_decoder_layers": 2}
VARIANTS: dict[str, dict[str, Any]] = {
    "one-group": {"d_head": 4, "d_state": 5},
    "two-groups": {"d_head": 4, "d_state": 3, "num_groups": 2, "expand": 3},
    "short-kernel": {"d_head": 16, "d_state": 3, "kernel_size": 2},
}


def build(**options: Any) -> Mamba2:
    torch.manual_seed(0)
    return Mamba2(SRC_VOCAB, TGT_VOCAB, **SIZES, **options).eval()


def reference(d_head: int, d_state: int, num_groups: int = 1, expand: int = 2, kernel_size: int = 4) -> nn.Module:
    """Their stack of two layers, no parameter at zero or one."""
    transformers = pytest.importorskip("transformers")
    config = transformers.Mamba2Config(
        hidden_size=8,
        num_hidden_layers=2,
        num_heads=expand * 8 // d_head,
        head_dim=d_head,
        state_size=d_state,
        n_groups=num_groups,
        expand=expand,
        conv_kernel=kernel_size,
        chunk_size=4,
        vocab_size=9,
    )
    torch.manual_seed(1)
    model: nn.Module = transformers.Mamba2Model(config).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    return model


@torch.no_grad()
def copy_mixer(theirs: nn.Module, ours: Mamba2Mixer) -> None:
    ours.input.weight.copy_(theirs.in_proj.weight)
    ours.convolution.weight.copy_(theirs.conv1d.weight.squeeze(1))
    ours.convolution.bias.copy_(theirs.conv1d.bias)
    ours.log_a.copy_(theirs.A_log)
    ours.skip.copy_(theirs.D)
    ours.step_bias.copy_(theirs.dt_bias)
    ours.norm.copy_(theirs.norm.weight)
    ours.output.weight.copy_(theirs.out_proj.weight)


@torch.no_grad()
def silence(linear: nn.Linear) -> None:
    """A part of a layer that adds nothing to it."""
    linear.weight.zero_()
    linear.bias.zero_()


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_a_layer_computes_what_theirs_computes(variant: dict[str, Any]) -> None:
    theirs, ours = reference(**variant).layers[0].mixer, build(**variant).model.decoder.layers[0].mixer
    copy_mixer(theirs, ours)
    x = torch.randn(3, 11, 8)
    torch.testing.assert_close(ours(x, ours.start(3, x))[0], theirs(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_a_layer_hides_padding_in_front_as_theirs_does(variant: dict[str, Any]) -> None:
    theirs, ours = reference(**variant).layers[0].mixer, build(**variant).model.decoder.layers[0].mixer
    copy_mixer(theirs, ours)
    x, padding = torch.randn(3, 11, 8), torch.arange(11) < torch.tensor([[0], [3], [10]])
    expected = theirs(x, attention_mask=~padding)
    torch.testing.assert_close(ours.read(x, padding)[~padding], expected[~padding], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cuts", [[], [4, 5], list(range(1, 11))])
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_a_decoder_that_adds_nothing_else_is_their_stack(variant: dict[str, Any], cuts: list[int]) -> None:
    theirs, decoder = reference(**variant), build(**variant).model.decoder
    for layer, ours in zip(theirs.layers, decoder.layers, strict=True):
        copy_mixer(layer.mixer, ours.mixer)
        ours.mixer_norm.load_state_dict(layer.norm.state_dict())
        silence(ours.cross_attention.output)
        silence(ours.feed_forward.outer)
    decoder.norm.load_state_dict(theirs.norm_f.state_dict())
    y, states = torch.randn(3, 11, 8), torch.randn(3, 2, 8)
    state = decoder.start(Memory(states, states, torch.zeros(3, 2, dtype=torch.bool), states[:, :1]))
    hidden = []
    for piece in y.tensor_split(cuts, 1):
        output = decoder(piece, state)
        hidden.append(output.hidden)
        state = output.state
    expected = theirs(inputs_embeds=y).last_hidden_state
    torch.testing.assert_close(torch.cat(hidden, 1), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("law", LAWS, ids=str)
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_every_variant_keeps_the_law(law: Law, variant: dict[str, Any]) -> None:
    law.check(build(**variant).double().model)
