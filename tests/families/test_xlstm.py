"""Parity with the torch path of Hugging Face's xLSTMModel on copied weights, and the laws for variants."""

from typing import Any

import pytest
import torch
from torch import nn

from s2s_lightning.families.xlstm import XLSTM, MLSTMMixer
from s2s_lightning.model import Memory
from s2s_lightning.testing import SRC_VOCAB, TGT_VOCAB, Law
from tests.families.laws import LAWS
from tests.families.test_mamba2 import silence

SIZES = {"d_model": 16, "d_ff": 12, "num_encoder_layers": 2, "num_decoder_layers": 2}
VARIANTS = {"one-head": {"num_heads": 1, "d_key": 8}, "four-heads": {"num_heads": 4, "d_key": 2}}


def build(**options: Any) -> XLSTM:
    torch.manual_seed(0)
    return XLSTM(SRC_VOCAB, TGT_VOCAB, **SIZES, **options).eval()


def reference(num_heads: int) -> nn.Module:
    """Their stack of two layers, without the epsilon that they add to the denominator; no parameter at zero or one."""
    transformers = pytest.importorskip("transformers")
    config = transformers.xLSTMConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_heads=num_heads,
        qk_dim_factor=0.5,
        norm_eps=1e-5,
        eps=0.0,
        chunk_size=16,
        autocast_kernel_dtype="float32",
        vocab_size=9,
    )
    torch.manual_seed(1)
    model: nn.Module = transformers.xLSTMModel(config).eval()
    for name, parameter in model.named_parameters():
        nn.init.normal_(parameter, mean=3.0 if name.endswith("fgate_preact.bias") else 0.0, std=0.3)
    return model


@torch.no_grad()
def copy_mixer(theirs: nn.Module, ours: MLSTMMixer) -> None:
    parts = theirs.q, theirs.k, theirs.v, theirs.ogate_preact
    ours.query_key_value_gate.weight.copy_(torch.cat([part.weight for part in parts]))
    gates = theirs.igate_preact, theirs.fgate_preact
    ours.gates.weight.copy_(torch.cat([gate.weight for gate in gates]))
    ours.gates.bias.copy_(torch.cat([gate.bias for gate in gates]))
    ours.norm.copy_(theirs.multihead_norm.weight)
    ours.output.weight.copy_(theirs.out_proj.weight)


@pytest.mark.parametrize("length", [1, 11, 45])
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_a_layer_computes_what_theirs_computes(variant: dict[str, int], length: int) -> None:
    theirs = reference(variant["num_heads"]).blocks[0].mlstm_layer
    ours = build(**variant).model.decoder.layers[0].mixer
    copy_mixer(theirs, ours)
    x = torch.randn(3, length, 16)
    y, memory = ours(x, ours.start(3, x))
    expected, (matrix, normaliser, m) = theirs(x)
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)
    state = memory.matrix * (memory.stabiliser.unsqueeze(-1) - m).exp().unsqueeze(-1)
    torch.testing.assert_close(state[..., :-1], matrix, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(state[..., -1], normaliser, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cuts", [[], [4, 5], list(range(1, 19))])
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_a_decoder_that_adds_nothing_else_is_their_stack(variant: dict[str, int], cuts: list[int]) -> None:
    theirs, decoder = reference(variant["num_heads"]), build(**variant).model.decoder
    for block, layer in zip(theirs.blocks, decoder.layers, strict=True):
        copy_mixer(block.mlstm_layer, layer.mixer)
        layer.mixer_norm.load_state_dict(block.norm_mlstm.state_dict())
        nn.init.zeros_(block.ffn.proj_down.weight)
        silence(layer.feed_forward.outer)
        silence(layer.cross_attention.output)
    decoder.norm.load_state_dict(theirs.out_norm.state_dict())
    y, states = torch.randn(3, 19, 16), torch.randn(3, 2, 16)
    state = decoder.start(Memory(states, states, torch.zeros(3, 2, dtype=torch.bool), states[:, :1]))
    hidden = []
    for piece in y.tensor_split(cuts, 1):
        output = decoder(piece, state)
        hidden.append(output.hidden)
        state = output.state
    expected = theirs(inputs_embeds=y, use_cache=False).last_hidden_state
    torch.testing.assert_close(torch.cat(hidden, 1), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("law", LAWS, ids=str)
@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_every_variant_keeps_the_law(law: Law, variant: dict[str, int]) -> None:
    law.check(build(**variant).double().model)
