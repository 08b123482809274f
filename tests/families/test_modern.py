"""Parity with T5Gemma of transformers on copied weights, and the laws with each part switched off."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from s2s_lightning.errors import UserError
from s2s_lightning.families.modern import Layer, Modern
from s2s_lightning.model import Seq2Seq
from s2s_lightning.nn.gated_feed_forward import GatedFeedForward
from s2s_lightning.nn.grouped_attention import GroupedQueryAttention
from s2s_lightning.nn.norm import NormedResidual, RMSNorm
from s2s_lightning.testing import SRC_VOCAB, TGT_VOCAB, Law
from tests.families.laws import LAWS

STACK = {"d_model": 16, "num_heads": 4, "num_kv_heads": 2, "d_ff": 12}
SIZES = {**STACK, "num_encoder_layers": 2, "num_decoder_layers": 2}
T5GEMMA = {"ffn": "geglu", "norm_at": "both", "qk_norm": False}


def build(**options: Any) -> Seq2Seq:
    torch.manual_seed(0)
    return Modern(SRC_VOCAB, TGT_VOCAB, **{**SIZES, **options}).eval().model


@torch.no_grad()
def perturb(model: nn.Module) -> None:
    """Gains away from one, so that a parity cannot hold by their absence."""
    for module in model.modules():
        if isinstance(module, RMSNorm):
            module.weight.add_(torch.randn_like(module.weight) * 0.3)


def hugging_face_sizes() -> dict[str, Any]:
    """Of a T5Gemma stack: every layer reads all positions, nothing caps a score, rotations with base 10,000."""
    return {
        "vocab_size": 20,
        "hidden_size": 16,
        "intermediate_size": 12,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 4,
        "query_pre_attn_scalar": 4,
        "layer_types": ["full_attention"] * 2,
        "attn_logit_softcapping": None,
    }


def copy_norm(ours: nn.Module, reference: nn.Module) -> None:
    """Theirs adds the one to the gain."""
    reference.weight.copy_(ours.weight - 1)


def copy_attention(ours: GroupedQueryAttention, reference: nn.Module) -> None:
    reference.q_proj.weight.copy_(ours.query.weight)
    reference.k_proj.weight.copy_(ours.key.weight)
    reference.v_proj.weight.copy_(ours.value.weight)
    reference.o_proj.weight.copy_(ours.output.weight)
    if hasattr(reference, "q_norm"):
        copy_norm(ours.query_norm, reference.q_norm)
        copy_norm(ours.key_norm, reference.k_norm)


def copy_feed_forward(ours: GatedFeedForward, reference: nn.Module) -> None:
    reference.gate_proj.weight.copy_(ours.gate.weight)
    reference.up_proj.weight.copy_(ours.inner.weight)
    reference.down_proj.weight.copy_(ours.outer.weight)


def copy_residual(ours: NormedResidual, reference: nn.Module, name: str) -> None:
    copy_norm(ours.before, getattr(reference, f"pre_{name}_layernorm"))
    copy_norm(ours.after, getattr(reference, f"post_{name}_layernorm"))


def copy_layer(ours: Layer, reference: nn.Module) -> None:
    """A layer with one attention, T5Gemma's encoder's or either of T5Gemma 2's."""
    copy_attention(ours.attention, reference.self_attn)
    copy_residual(ours.attention_residual, reference, "self_attn")
    copy_feed_forward(ours.feed_forward, reference.mlp)
    copy_residual(ours.feed_forward_residual, reference, "feedforward")


@torch.no_grad()
def t5gemma(model: Seq2Seq) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder of transformers' with our weights."""
    t5gemma = pytest.importorskip("transformers.models.t5gemma")
    parts = [t5gemma.T5GemmaModuleConfig(**hugging_face_sizes()) for _ in range(2)]
    config = t5gemma.T5GemmaConfig(encoder=parts[0], decoder=parts[1], vocab_size=20, attn_implementation="eager")
    reference = t5gemma.T5GemmaModel(config).eval()
    for ours, theirs in zip(model.encoder.layers, reference.encoder.layers, strict=True):
        copy_layer(ours, theirs)
    for ours, theirs in zip(model.decoder.layers, reference.decoder.layers, strict=True):
        copy_attention(ours.self_attention, theirs.self_attn)
        copy_residual(ours.self_attention_residual, theirs, "self_attn")
        copy_attention(ours.cross_attention, theirs.cross_attn)
        copy_residual(ours.cross_attention_residual, theirs, "cross_attn")
        copy_feed_forward(ours.feed_forward, theirs.mlp)
        copy_residual(ours.feed_forward_residual, theirs, "feedforward")
    copy_norm(model.encoder.norm, reference.encoder.norm)
    copy_norm(model.decoder.norm, reference.decoder.norm)
    return reference.encoder, reference.decoder


PADDING = torch.arange(6) >= torch.tensor([[6], [4], [1]])


@torch.no_grad()
def test_it_computes_what_t5gemma_computes() -> None:
    model = build(**T5GEMMA)
    perturb(model)
    encoder, decoder = t5gemma(model)
    x, y = torch.randn(3, 6, 16), torch.randn(3, 5, 16)
    scale = 16**0.5  # theirs scales embeddings inside

    memory = model.encoder(x, PADDING)
    states = encoder(inputs_embeds=x / scale, attention_mask=(~PADDING).long()).last_hidden_state
    torch.testing.assert_close(memory.states[~PADDING], states[~PADDING], rtol=1e-5, atol=1e-5)

    hidden = decoder(
        inputs_embeds=y / scale,
        attention_mask=torch.ones(3, 5, dtype=torch.long),
        encoder_hidden_states=states,
        encoder_attention_mask=(~PADDING).long(),
    ).last_hidden_state
    ours = model.decoder(y, model.decoder.start(memory)).hidden
    torch.testing.assert_close(ours, hidden, rtol=1e-5, atol=1e-5)


VARIANTS = {
    "default": {},
    "t5gemma": T5GEMMA,
    "geglu": {"ffn": "geglu"},
    "plain feed-forward": {"ffn": "plain"},
    "layer norm": {"norm": "layer"},
    "norm of the output": {"norm_at": "output"},
    "multi-head": {"num_kv_heads": 4},
    "multi-query": {"num_kv_heads": 1},
    "no qk norm": {"qk_norm": False},
    "sinusoidal": {"positions": "sinusoidal"},
    "no positions": {"positions": "none"},
}
variants = pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)


@pytest.mark.parametrize("law", LAWS, ids=str)
@variants
def test_every_variant_keeps_the_law(law: Law, options: dict[str, Any]) -> None:
    law.check(build(**options).double())


@pytest.mark.parametrize("options", list(VARIANTS.values())[1:], ids=list(VARIANTS)[1:])
def test_each_switch_changes_what_is_computed(options: dict[str, Any]) -> None:
    x, padding = torch.randn(1, 5, 16), torch.zeros(1, 5, dtype=torch.bool)
    default, variant = build(), build(**options)
    shared = {n: p for n, p in default.state_dict().items() if variant.state_dict().get(n, p[:0]).shape == p.shape}
    variant.load_state_dict(shared, strict=False)
    assert (default.encoder(x, padding).states - variant.encoder(x, padding).states).abs().max() > 1e-3


def test_without_positions_the_order_of_the_source_is_not_seen() -> None:
    model, x, padding = build(positions="none").double(), torch.randn(2, 5, 16).double(), torch.zeros(2, 5).bool()
    order = torch.tensor([3, 1, 4, 0, 2])
    states = model.encoder(x, padding).states
    torch.testing.assert_close(model.encoder(x[:, order], padding).states, states[:, order], rtol=0, atol=1e-12)
    rotary = build().double()
    assert (
        rotary.encoder(x[:, order], padding).states - rotary.encoder(x, padding).states[:, order]
    ).abs().max() > 1e-3


@pytest.mark.parametrize("num_kv_heads", [1, 2, 4])
def test_a_cache_holds_the_heads_of_keys_and_values_alone(num_kv_heads: int) -> None:
    model = build(num_kv_heads=num_kv_heads)
    src = torch.randint(4, SRC_VOCAB, (3, 5))
    state = model.step(torch.randint(4, TGT_VOCAB, (3, 2)), model.start(src, torch.zeros_like(src).bool())).state
    sources, _ = state.context
    assert {tuple(cache.kv.keys.shape) for cache in state.carry} == {(3, num_kv_heads, 2, 4)}
    assert {tuple(source.kv.values.shape) for source in sources.parts} == {(3, num_kv_heads, 5, 4)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"d_model": 12}, "d_model=12 is no multiple of 2 \\* num_heads=8"),
        ({"num_kv_heads": 3}, "num_heads=4 is no multiple of num_kv_heads=3"),
    ],
)
def test_heads_that_cannot_be_shared_are_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(**options)


def test_dropout_acts_in_training_alone() -> None:
    model = build(dropout=0.5)
    src, tgt_in = torch.randint(4, TGT_VOCAB, (2, 2, 5))

    def hidden() -> Tensor:
        return model(tgt_in, model.start(src, torch.zeros_like(src).bool())).hidden

    assert torch.equal(hidden(), hidden())
    model.train()
    assert not torch.equal(hidden(), hidden())
