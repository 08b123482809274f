"""Parity with torch's own Transformer and with Marian on copied weights, LayerDrop, and the laws for every variant."""

from itertools import product
from typing import Any

import pytest
import torch
from torch import nn

from s2s_lightning import BOS, EOS, PAD
from s2s_lightning.errors import UserError
from s2s_lightning.families.transformer import DecoderLayer, EncoderLayer, Transformer
from s2s_lightning.model import Batch, Seq2Seq
from s2s_lightning.nn.attention import CrossAttention, SelfAttention
from s2s_lightning.nn.layers import LayerDrop
from s2s_lightning.testing import SRC_VOCAB, TGT_VOCAB, Law, batch_of, random_pairs
from s2s_lightning.testing.target_laws import reordering
from tests.families.laws import BASIC, LAWS

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


@pytest.mark.parametrize("law", LAWS, ids=str)
@pytest.mark.parametrize(("norm", "positions"), list(product(["pre", "post"], ["sinusoidal", "learned", "rotary"])))
def test_every_variant_keeps_the_law(law: Law, norm: str, positions: str) -> None:
    law.check(build(norm=norm, positions=positions, max_positions=30).double().model)


def test_more_positions_than_learned_ones_still_keep_the_law() -> None:
    for law in BASIC:
        law.check(build(positions="learned", max_positions=4).double().model)


@pytest.mark.parametrize("kind", ["dropout", "attention_dropout", "activation_dropout", "layer_drop"])
def test_each_dropout_acts_in_training_alone(kind: str) -> None:
    options = {"dropout": 0.0, kind: 0.5}
    model = build(**options).model
    src, tgt_in = torch.randint(4, TGT_VOCAB, (2, 8, 5))
    padding = torch.zeros_like(src, dtype=torch.bool)

    def hidden() -> torch.Tensor:
        return model(tgt_in, model.start(src, padding)).hidden

    assert torch.equal(hidden(), hidden())
    model.train()
    assert not torch.equal(hidden(), hidden())


def test_a_width_that_the_heads_cannot_share_is_refused_by_name() -> None:
    with pytest.raises(UserError, match="d_model=9 is no multiple of 2 \\* num_heads=4"):
        Transformer(SRC_VOCAB, d_model=9, num_heads=2)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_a_sentence_passes_through_the_layers_that_it_drew_alone(norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = [[0, 1], [0], [1]]
    passing = [torch.tensor([n in row for row in drawn]).view(3, 1, 1) for n in range(2)]
    batch = batch_of(random_pairs(3))
    monkeypatch.setattr(LayerDrop, "forward", lambda self, x: passing)
    together = build(norm=norm).double().model
    states = together.encoder(together.src_embedding(batch.src), batch.src_padding).states
    hidden = together.teacher_force(batch).hidden
    monkeypatch.undo()
    for row, kept in enumerate(drawn):
        alone = build(norm=norm).double().model
        for part in (alone.encoder, alone.decoder):
            part.layers = nn.ModuleList(part.layers[n] for n in kept)
            part.layer_drop.num_layers = len(kept)
        one = Batch(*(x if x is None or not x.ndim else x[row : row + 1] for x in batch))
        lone = alone.encoder(alone.src_embedding(one.src), one.src_padding).states
        torch.testing.assert_close(states[row], lone[0], rtol=0, atol=1e-10)
        torch.testing.assert_close(hidden[row], alone.teacher_force(one).hidden[0], rtol=0, atol=1e-10)


def test_the_layers_that_were_drawn_stay_so_for_the_whole_target() -> None:
    model = build(dropout=0.0, layer_drop=0.5).double().train().model
    reordering(model)


def test_layers_that_no_sentence_drew_still_have_gradients() -> None:
    model = build(layer_drop=0.999).train().model
    batch = batch_of(random_pairs(2))
    model.teacher_force(batch).hidden.sum().backward()
    assert all(p.grad is not None for name, p in model.named_parameters() if not name.startswith("readout"))


def features(d_model: int) -> list[int]:
    """Marian's vectors begin with all sines and end with all cosines; ours alternate."""
    return [*range(0, d_model, 2), *range(1, d_model, 2)]


@torch.no_grad()
def copy_marian_attention(ours: SelfAttention | CrossAttention, reference: nn.Module, order: list[int]) -> None:
    if isinstance(ours, CrossAttention):
        weights = [p.weight for p in (ours.query, ours.key, ours.value)]
        biases = [p.bias for p in (ours.query, ours.key, ours.value)]
    else:
        weights, biases = ours.query_key_value.weight.chunk(3), ours.query_key_value.bias.chunk(3)
    for name, weight, bias in zip(("q_proj", "k_proj", "v_proj"), weights, biases, strict=True):
        getattr(reference, name).weight.copy_(weight[:, order])
        getattr(reference, name).bias.copy_(bias)
    reference.out_proj.weight.copy_(ours.output.weight[order])
    reference.out_proj.bias.copy_(ours.output.bias[order])


@torch.no_grad()
def copy_marian_rest(ours: EncoderLayer | DecoderLayer, reference: nn.Module, order: list[int]) -> None:
    reference.fc1.weight.copy_(ours.feed_forward.inner.weight[:, order])
    reference.fc1.bias.copy_(ours.feed_forward.inner.bias)
    reference.fc2.weight.copy_(ours.feed_forward.outer.weight[order])
    reference.fc2.bias.copy_(ours.feed_forward.outer.bias[order])
    norms = {"self_attn_layer_norm": "self_attention", "encoder_attn_layer_norm": "cross_attention"}
    if isinstance(ours, EncoderLayer):
        norms = {"self_attn_layer_norm": "attention"}
    for theirs, name in (norms | {"final_layer_norm": "feed_forward"}).items():
        norm = getattr(ours, f"{name}_residual").norm
        getattr(reference, theirs).weight.copy_(norm.weight[order])
        getattr(reference, theirs).bias.copy_(norm.bias[order])


@torch.no_grad()
def marian(model: Seq2Seq) -> nn.Module:
    """Marian (Junczys-Dowmunt et al., 2018) of Hugging Face with our weights: post-norm, sinusoids, all tied."""
    transformers = pytest.importorskip("transformers")
    sides = {"layers": 2, "attention_heads": SIZES["num_heads"], "ffn_dim": SIZES["d_ff"]}
    config = transformers.MarianConfig(
        vocab_size=SRC_VOCAB,
        d_model=SIZES["d_model"],
        activation_function="relu",
        scale_embedding=True,
        max_position_embeddings=32,
        pad_token_id=PAD,
        eos_token_id=EOS,
        decoder_start_token_id=BOS,
        forced_eos_token_id=None,
        **{f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in sides.items()},
    )
    reference, order = transformers.MarianMTModel(config).eval(), features(SIZES["d_model"])
    reference.model.shared.weight.copy_(model.tgt_embedding.weight[:, order])
    reference.final_logits_bias.copy_(model.readout.bias)
    for ours, theirs in zip(model.encoder.layers, reference.model.encoder.layers, strict=True):
        copy_marian_attention(ours.attention, theirs.self_attn, order)
        copy_marian_rest(ours, theirs, order)
    for ours, theirs in zip(model.decoder.layers, reference.model.decoder.layers, strict=True):
        copy_marian_attention(ours.self_attention, theirs.self_attn, order)
        copy_marian_attention(ours.cross_attention, theirs.encoder_attn, order)
        copy_marian_rest(ours, theirs, order)
    return reference


@torch.no_grad()
def test_it_computes_what_marian_computes() -> None:
    torch.manual_seed(0)
    model = Transformer(SRC_VOCAB, **SIZES, norm="post", tie_embeddings="all").eval().model
    perturb(model)
    model.tgt_embedding.weight[PAD].zero_()
    reference, order = marian(model), features(SIZES["d_model"])
    batch = batch_of(random_pairs(4))
    theirs = reference(
        input_ids=batch.src,
        attention_mask=~batch.src_padding,
        decoder_input_ids=batch.tgt_in,
        output_hidden_states=True,
    )
    real = ~batch.src_padding
    memory = model.encoder(model.src_embedding(batch.src), batch.src_padding)
    output = model.teacher_force(batch)
    states, hidden = theirs.encoder_last_hidden_state, theirs.decoder_hidden_states[-1]
    torch.testing.assert_close(memory.states[..., order][real], states[real], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(output.hidden[..., order], hidden, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(model.readout(output, batch.src), theirs.logits, rtol=1e-5, atol=1e-5)
