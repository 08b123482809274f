"""Parity with the text part of T5Gemma 2 of transformers on copied weights, and the laws of a merged softmax."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from s2s_lightning.errors import UserError
from s2s_lightning.families.merged import Merged, MergedDecoder
from s2s_lightning.model import MemoryShape, Seq2Seq
from s2s_lightning.nn.attention import causal_bias
from s2s_lightning.testing import SRC_VOCAB, TGT_VOCAB, Law
from tests.families.laws import LAWS
from tests.families.test_modern import PADDING, SIZES, copy_layer, copy_norm, hugging_face_sizes, perturb


def build(**options: Any) -> Seq2Seq:
    torch.manual_seed(0)
    return Merged(SRC_VOCAB, TGT_VOCAB, **{**SIZES, **options}).eval().model


@torch.no_grad()
def t5gemma2(model: Seq2Seq) -> tuple[nn.Module, nn.Module]:
    """Text encoder and decoder of transformers' with our weights."""
    config = pytest.importorskip("transformers.models.t5gemma2.configuration_t5gemma2")
    modeling = pytest.importorskip("transformers.models.t5gemma2.modeling_t5gemma2")
    rotary = {"full_attention": {"rope_type": "default", "rope_theta": 10_000.0}}
    sizes = {**hugging_face_sizes(), "rope_parameters": rotary, "dropout_rate": 0.0, "attn_implementation": "eager"}
    encoder = modeling.T5Gemma2TextEncoder(config.T5Gemma2TextConfig(**sizes), eoi_token_index=0).eval()
    decoder = modeling.T5Gemma2Decoder(config.T5Gemma2DecoderConfig(**sizes), eoi_token_index=0).eval()
    for ours, theirs in ((model.encoder, encoder), (model.decoder, decoder)):
        copy_norm(ours.norm, theirs.norm)
        for our_layer, their_layer in zip(ours.layers, theirs.layers, strict=True):
            copy_layer(our_layer, their_layer)
    return encoder, decoder


@torch.no_grad()
def test_it_computes_what_t5gemma_2_computes() -> None:
    model = build(ffn="geglu", norm_at="both")
    perturb(model)
    encoder, decoder = t5gemma2(model)
    x, y = torch.randn(3, 6, 16), torch.randn(3, 5, 16)

    memory = model.encoder(x, PADDING)
    states = encoder(inputs_embeds=x, attention_mask=(~PADDING).long()).last_hidden_state
    torch.testing.assert_close(memory.states[~PADDING], states[~PADDING], rtol=1e-5, atol=1e-5)

    reference = decoder(
        inputs_embeds=y,
        attention_mask=torch.ones(3, 5, dtype=torch.long),
        encoder_hidden_states=states,
        encoder_attention_mask=(~PADDING).long(),
        output_attentions=True,
    )
    start = model.decoder.start(memory)
    ours = model.decoder(y, start, need_weights=True)
    torch.testing.assert_close(ours.hidden, reference.last_hidden_state, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(model.decoder(y, start).hidden, reference.last_hidden_state, rtol=1e-5, atol=1e-5)
    attention = torch.stack(reference.cross_attentions, 1)
    torch.testing.assert_close(ours.attention, attention, rtol=1e-5, atol=1e-5)


VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "t5gemma2": {"ffn": "geglu", "norm_at": "both"},
    "sinusoidal multi-head without qk norm": {"positions": "sinusoidal", "num_kv_heads": 4, "qk_norm": False},
}


@pytest.mark.parametrize("law", LAWS, ids=str)
@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_every_variant_keeps_the_law(law: Law, options: dict[str, Any]) -> None:
    law.check(build(**options).double())


def test_what_attention_leaves_to_the_target_makes_it_one() -> None:
    """Law 12 for a merged softmax: the weights of target and source together, of each layer."""
    model = build().double()
    layer = model.decoder.layers[0]
    y, source = torch.randn(3, 5, 16).double(), layer.attention.project(*torch.randn(2, 3, 6, 16).double())
    hidden = PADDING[:, None, None] * -3e4
    bias = torch.cat([causal_bias(5, 5, y).expand(3, 1, -1, -1), hidden.expand(-1, -1, 5, -1).double()], -1)
    _, _, weights = layer(y, None, bias, source=source, need_weights=True)
    own, of_source = weights.split([5, 6], -1)
    torch.testing.assert_close(own.sum(-1) + of_source.sum(-1), torch.ones(3, 4, 5).double(), rtol=0, atol=1e-12)
    assert own.triu(1).abs().max() == 0 < own.diagonal(dim1=-2, dim2=-1).min()


def test_the_source_is_read_without_positions() -> None:
    """A source whose states come in another order is the same source, unlike with a prefix LM."""
    model = build().double()
    states, y = torch.randn(2, 5, 16).double(), torch.randn(2, 4, 16).double()
    order = torch.tensor([3, 1, 4, 0, 2])

    def hidden(states: Tensor) -> Tensor:
        memory = model.encoder(states, torch.zeros(2, 5).bool())._replace(states=states, values=states)
        return model.decoder(y, model.decoder.start(memory)).hidden

    torch.testing.assert_close(hidden(states[:, order]), hidden(states), rtol=0, atol=1e-12)


def test_states_of_another_width_are_refused() -> None:
    with pytest.raises(UserError, match="states are 8 wide and the embeddings 16"):
        MergedDecoder(16, MemoryShape(8, (1, 8)))
