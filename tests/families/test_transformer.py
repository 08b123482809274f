"""Parity with torch's own Transformer on copied weights, and the laws for every variant."""

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from torch import nn

from s2s_lightning.architecture import Seq2Seq
from s2s_lightning.errors import UserError
from s2s_lightning.families.transformer import DecoderLayer, EncoderLayer, Transformer
from s2s_lightning.nn.attention import CrossAttention, SelfAttention
from tests.contract.conftest import SRC_VOCAB, TGT_VOCAB
from tests.families.laws import LAWS

SIZES = {"d_model": 8, "num_heads": 2, "d_ff": 12, "num_encoder_layers": 2, "num_decoder_layers": 2}


def build(**options: Any) -> Transformer:
    torch.manual_seed(0)
    return Transformer(SRC_VOCAB, TGT_VOCAB, **SIZES, **options).eval()


def perturb(module: nn.Module) -> None:
    """Biases and norms away from zero and one, so that a parity cannot hold by their absence."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)


def copy_self_attention(ours: SelfAttention, reference: nn.MultiheadAttention) -> None:
    reference.in_proj_weight.copy_(ours.query_key_value.weight)
    reference.in_proj_bias.copy_(ours.query_key_value.bias)
    reference.out_proj.load_state_dict(ours.output.state_dict())


def copy_cross_attention(ours: CrossAttention, reference: nn.MultiheadAttention) -> None:
    projections = ours.query, ours.key, ours.value
    reference.in_proj_weight.copy_(torch.cat([p.weight for p in projections]))
    reference.in_proj_bias.copy_(torch.cat([p.bias for p in projections]))
    reference.out_proj.load_state_dict(ours.output.state_dict())


def copy_encoder_layer(ours: EncoderLayer, reference: nn.TransformerEncoderLayer) -> None:
    copy_self_attention(ours.attention, reference.self_attn)
    reference.norm1.load_state_dict(ours.attention_residual.norm.state_dict())
    reference.linear1.load_state_dict(ours.feed_forward.inner.state_dict())
    reference.linear2.load_state_dict(ours.feed_forward.outer.state_dict())
    reference.norm2.load_state_dict(ours.feed_forward_residual.norm.state_dict())


def copy_decoder_layer(ours: DecoderLayer, reference: nn.TransformerDecoderLayer) -> None:
    copy_self_attention(ours.self_attention, reference.self_attn)
    copy_cross_attention(ours.cross_attention, reference.multihead_attn)
    reference.norm1.load_state_dict(ours.self_attention_residual.norm.state_dict())
    reference.norm2.load_state_dict(ours.cross_attention_residual.norm.state_dict())
    reference.linear1.load_state_dict(ours.feed_forward.inner.state_dict())
    reference.linear2.load_state_dict(ours.feed_forward.outer.state_dict())
    reference.norm3.load_state_dict(ours.feed_forward_residual.norm.state_dict())


@torch.no_grad()
def torch_transformer(model: Seq2Seq, norm: str, activation: str) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder of torch's with our weights. Only pre-norm stacks end in a norm."""
    options = {"activation": activation, "norm_first": norm == "pre", "batch_first": True, "dropout": 0.0}
    sizes = SIZES["d_model"], SIZES["num_heads"], SIZES["d_ff"]
    last = [nn.LayerNorm(8) if norm == "pre" else None for _ in range(2)]
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(*sizes, **options), 2, last[0], False)
    decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(*sizes, **options), 2, last[1])
    for ours, reference in zip(model.encoder.layers, encoder.layers, strict=True):
        copy_encoder_layer(ours, reference)
    for ours, reference in zip(model.decoder.layers, decoder.layers, strict=True):
        copy_decoder_layer(ours, reference)
    if norm == "pre":
        encoder.norm.load_state_dict(model.encoder.norm.state_dict())
        decoder.norm.load_state_dict(model.decoder.norm.state_dict())
    return encoder.eval(), decoder.eval()


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_it_computes_what_torchs_transformer_computes(norm: str, activation: str) -> None:
    model = build(norm=norm, activation=activation).model
    perturb(model)
    encoder, decoder = torch_transformer(model, norm, activation)
    x, y = torch.randn(3, 6, 8), torch.randn(3, 5, 8)
    padding = torch.arange(6) >= torch.tensor([[6], [4], [1]])

    memory = model.encoder(x, padding)
    states = encoder(model.encoder.positions(x, torch.arange(6)), src_key_padding_mask=padding)
    torch.testing.assert_close(memory.states[~padding], states[~padding], rtol=1e-5, atol=1e-5)

    hidden = decoder(
        model.decoder.positions(y, torch.arange(5)),
        memory.states,
        tgt_mask=torch.ones(5, 5).triu(1).bool(),
        memory_key_padding_mask=padding,
    )
    ours = model.decoder(y, model.decoder.start(memory)).hidden
    torch.testing.assert_close(ours, hidden, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize(("norm", "positions"), list(product(["pre", "post"], ["sinusoidal", "learned", "rotary"])))
def test_every_variant_keeps_the_law(law: Callable[[Seq2Seq], None], norm: str, positions: str) -> None:
    law(build(norm=norm, positions=positions, max_positions=30).double().model)


def test_more_positions_than_learned_ones_still_keep_the_law() -> None:
    for law in LAWS[:3]:
        law(build(positions="learned", max_positions=4).double().model)


@pytest.mark.parametrize("kind", ["dropout", "attention_dropout", "activation_dropout"])
def test_each_dropout_acts_in_training_alone(kind: str) -> None:
    options = {"dropout": 0.0, kind: 0.5}
    model = build(**options).model
    src, tgt_in = torch.randint(4, TGT_VOCAB, (2, 2, 5))
    padding = torch.zeros_like(src, dtype=torch.bool)

    def hidden() -> torch.Tensor:
        return model(tgt_in, model.start(src, padding)).hidden

    assert torch.equal(hidden(), hidden())
    model.train()
    assert not torch.equal(hidden(), hidden())


def test_a_width_that_the_heads_cannot_share_is_refused_by_name() -> None:
    with pytest.raises(UserError, match="d_model=9 is no multiple of 2 \\* num_heads=4"):
        Transformer(SRC_VOCAB, d_model=9, num_heads=2)
