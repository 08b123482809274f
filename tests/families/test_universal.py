"""Parity with a Transformer whose layers are copies of the one layer, and the laws."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from s2s_lightning.errors import UserError
from s2s_lightning.families.universal import UniversalTransformer
from s2s_lightning.testing import SRC_VOCAB, TGT_VOCAB, Law
from tests.families.laws import LAWS
from tests.families.test_transformer import copy_decoder_layer, copy_encoder_layer, perturb

D = 8
SIZES = {"d_model": D, "num_heads": 2, "d_ff": 12, "num_encoder_steps": 3, "num_decoder_steps": 3}


def build(**options: Any) -> UniversalTransformer:
    torch.manual_seed(0)
    return UniversalTransformer(SRC_VOCAB, TGT_VOCAB, **{**SIZES, **options}).eval()


def signal(length: int, step: int) -> Tensor:
    """P^t (1, T, D), element by element; positions count from 0 and steps from 1."""
    p = torch.empty(length, D, dtype=torch.float64)
    for i in range(length):
        for j in range(D // 2):
            rate = 10000 ** torch.tensor(2 * j / D, dtype=torch.float64)
            p[i, 2 * j] = (i / rate).sin() + (step / rate).sin()
            p[i, 2 * j + 1] = (i / rate).cos() + (step / rate).cos()
    return p.unsqueeze(0)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("norm", ["pre", "post"])
@torch.no_grad()
def test_it_is_torchs_transformer_of_equal_layers_with_signals_between_them(norm: str, steps: int) -> None:
    model = build(norm=norm, num_encoder_steps=steps, num_decoder_steps=steps).double().model
    perturb(model)
    settings = {"dropout": 0.0, "batch_first": True, "norm_first": norm == "pre", "dtype": torch.float64}
    encoder_layers = [nn.TransformerEncoderLayer(D, 2, 12, **settings) for _ in range(steps)]
    decoder_layers = [nn.TransformerDecoderLayer(D, 2, 12, **settings) for _ in range(steps)]
    x, y = torch.randn(3, 6, D, dtype=torch.float64), torch.randn(3, 5, D, dtype=torch.float64)
    padding = torch.arange(6) >= torch.tensor([[6], [4], [1]])

    memory = model.encoder(x, padding)
    states = x
    for t, layer in enumerate(encoder_layers, 1):
        copy_encoder_layer(model.encoder.layer, layer)
        states = layer(states + signal(6, t), src_key_padding_mask=padding)
    states = model.encoder.norm(states)
    torch.testing.assert_close(memory.states[~padding], states[~padding], rtol=0, atol=1e-10)

    hidden, causal = y, torch.ones(5, 5).triu(1).bool()
    for t, layer in enumerate(decoder_layers, 1):
        copy_decoder_layer(model.decoder.layer, layer)
        signalled = hidden + signal(5, t)
        hidden = layer(signalled, memory.states, tgt_mask=causal, memory_key_padding_mask=padding)
    ours = model.decoder(y, model.decoder.start(memory)).hidden
    torch.testing.assert_close(ours, model.decoder.norm(hidden), rtol=0, atol=1e-10)


@pytest.mark.parametrize("law", LAWS, ids=str)
@pytest.mark.parametrize(("norm", "positions"), [("post", "sinusoidal"), ("pre", "learned"), ("pre", "rotary")])
def test_every_variant_keeps_the_law(law: Law, norm: str, positions: str) -> None:
    law.check(build(norm=norm, positions=positions, max_positions=5).double().model)


def test_steps_cost_no_parameters() -> None:
    few, many = (build(num_encoder_steps=n, num_decoder_steps=n) for n in (1, 7))
    assert few.state_dict().keys() == many.state_dict().keys()


def test_no_step_at_all_is_refused() -> None:
    with pytest.raises(UserError, match="num_encoder_steps=0"):
        build(num_encoder_steps=0)
