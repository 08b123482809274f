"""Parity with a masked Llama of transformers on [source; target], and the laws of one stack for both."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from s2s_lightning import EOS
from s2s_lightning.callbacks.reports.summary import parameters_by_part
from s2s_lightning.families.prefix_lm import LM, PrefixLM
from s2s_lightning.model import Seq2Seq
from s2s_lightning.testing import SRC_VOCAB, TGT_VOCAB, Law
from tests.families.laws import LAWS
from tests.families.test_modern import PADDING, STACK, copy_attention, copy_feed_forward, perturb

LLAMA = {"norm_at": "input", "ffn": "swiglu", "qk_norm": False}


def build(**options: Any) -> Seq2Seq:
    torch.manual_seed(0)
    return PrefixLM(SRC_VOCAB, TGT_VOCAB, **{**STACK, "num_layers": 3, **options}).eval().model


@torch.no_grad()
def llama(model: Seq2Seq) -> nn.Module:
    """Transformers' Llama with our weights."""
    llama = pytest.importorskip("transformers.models.llama")
    config = llama.LlamaConfig(
        vocab_size=20,
        hidden_size=16,
        intermediate_size=12,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        rms_norm_eps=1e-6,
        attn_implementation="eager",
    )
    reference = llama.LlamaModel(config).eval()
    for ours, theirs in zip(model.decoder.layers, reference.layers, strict=True):
        copy_attention(ours.attention, theirs.self_attn)
        copy_feed_forward(ours.feed_forward, theirs.mlp)
        theirs.input_layernorm.weight.copy_(ours.attention_residual.before.weight)
        theirs.post_attention_layernorm.weight.copy_(ours.feed_forward_residual.before.weight)
    reference.norm.weight.copy_(model.decoder.norm.weight)
    return reference


def prefix_mask(padding: Tensor, length: int) -> Tensor:
    """What each of [source; target] reads, (B, 1, S + T, S + T), as 0 and the least number."""
    rows, source = padding.shape
    reads = torch.zeros(rows, source + length, source + length, dtype=torch.bool)
    reads[:, :, :source] = ~padding.unsqueeze(1)
    reads[:, source:, source:] = torch.ones(length, length).tril().bool()
    return torch.where(reads, 0.0, torch.finfo(torch.float32).min).unsqueeze(1)


@torch.no_grad()
def test_it_computes_what_a_masked_llama_computes_on_source_and_target() -> None:
    model = build(**LLAMA)
    perturb(model)
    x, y = torch.randn(3, 6, 16), torch.randn(3, 5, 16)
    positions = torch.cat([torch.arange(6).expand(3, -1), (~PADDING).sum(1, keepdim=True) + torch.arange(5)], 1)
    hidden = llama(model)(
        inputs_embeds=torch.cat([x, y], 1), attention_mask=prefix_mask(PADDING, 5), position_ids=positions
    ).last_hidden_state[:, 6:]
    ours = model.decoder(y, model.decoder.start(model.encoder(x, PADDING))).hidden
    torch.testing.assert_close(ours, hidden, rtol=1e-5, atol=1e-5)


VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "llama": LLAMA,
    "sinusoidal": {"positions": "sinusoidal"},
    "one layer": {"num_layers": 1},
}


@pytest.mark.parametrize("law", LAWS, ids=str)
@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_every_variant_keeps_the_law(law: Law, options: dict[str, Any]) -> None:
    law.check(build(**options).double())


def test_each_parameter_is_counted_and_saved_once() -> None:
    model = build()
    parts = parameters_by_part(model)
    assert parts["encoder"] == 0
    assert sum(parts.values()) == sum(p.numel() for p in model.parameters())
    saved = [t.data_ptr() for name, t in model.state_dict().items() if name.startswith(("encoder", "decoder"))]
    assert len(saved) == len(set(saved)) == len(list(model.decoder.parameters()))


@torch.no_grad()
def test_behind_an_empty_source_it_is_a_plain_causal_llama() -> None:
    """What a language model computes: the source is one EOS, which stands before BOS like any token."""
    torch.manual_seed(0)
    model = LM(TGT_VOCAB, **STACK, num_layers=3, **LLAMA).eval().model
    perturb(model)
    tgt_in = torch.randint(4, TGT_VOCAB, (3, 5))
    src = torch.full((3, 1), EOS)
    ours = model(tgt_in, model.start(src, torch.zeros_like(src).bool())).hidden
    embedded = model.tgt_embedding(torch.cat([src, tgt_in], 1))
    torch.testing.assert_close(
        ours, llama(model)(inputs_embeds=embedded).last_hidden_state[:, 1:], rtol=1e-5, atol=1e-5
    )
