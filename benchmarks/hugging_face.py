"""Our Transformer as a model of Hugging Face's, with the same weights: for comparisons on equal terms.

Marian is their post-norm Transformer with sinusoids; Pegasus is the same with the norms before each part, and one at
the end of each stack. Both read positions from a table of weights, which is filled with ours, learned ones too.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from s2s_lightning import BOS, EOS, PAD
from s2s_lightning.families.transformer import DecoderLayer, EncoderLayer, TransformerDecoder, TransformerEncoder
from s2s_lightning.model import Seq2Seq
from s2s_lightning.nn.attention import CrossAttention, SelfAttention
from s2s_lightning.nn.layers import ACTIVATIONS, PreNorm
from s2s_lightning.nn.positions import RotaryPositions

if TYPE_CHECKING:
    from transformers import MarianMTModel, PegasusForConditionalGeneration

ENCODER_PARTS = {"self_attn": "attention"}
DECODER_PARTS = {"self_attn": "self_attention", "encoder_attn": "cross_attention"}
"""Their names of attention -> ours."""


@torch.no_grad()
def twin(model: Seq2Seq, max_positions: int = 1024) -> "MarianMTModel | PegasusForConditionalGeneration":
    """A ``MarianMTModel`` with the weights of a post-norm Transformer, or the Pegasus of a pre-norm one.

    ``generate`` knows our special ids and emits PAD and BOS as little as we do; it ends with EOS, or after the length
    that its caller says.

    Args:
        model: of the family Transformer, with sinusoidal or learned positions.
        max_positions: the longest sequence.
    """
    encoder, decoder, first = checked(model)
    theirs = pegasus if isinstance(first.feed_forward_residual, PreNorm) else marian
    activation = next(name for name, f in ACTIVATIONS.items() if f is first.feed_forward.activation)
    sizes: dict[str, Any] = {
        "d_model": model.src_embedding.embedding_dim,
        "vocab_size": model.src_embedding.num_embeddings,
        "max_position_embeddings": max_positions,
        "activation_function": activation,
        "encoder_layers": len(encoder.layers),
        "decoder_layers": len(decoder.layers),
        "pad_token_id": PAD,
        "eos_token_id": EOS,
        "decoder_start_token_id": BOS,
        "forced_eos_token_id": None,
        "scale_embedding": False,  # the tables are scaled instead
        "tie_word_embeddings": False,
    }
    for side in ("encoder", "decoder"):
        sizes[f"{side}_attention_heads"] = first.attention.num_heads
        sizes[f"{side}_ffn_dim"] = first.feed_forward.inner.out_features
    reference = theirs(sizes, model.tgt_vocab_size).eval()
    copy_stack(encoder, reference.model.encoder, model.src_embedding, ENCODER_PARTS)
    copy_stack(decoder, reference.model.decoder, model.tgt_embedding, DECODER_PARTS)
    reference.lm_head.weight.copy_(model.readout.weight)
    reference.final_logits_bias.copy_(model.readout.bias)
    reference.generation_config.suppress_tokens = [PAD, BOS]
    return reference


def checked(model: Seq2Seq) -> tuple[TransformerEncoder, TransformerDecoder, EncoderLayer]:
    """Encoder, decoder, and the first layer, of which the others are like."""
    encoder, decoder = model.encoder, model.decoder
    assert isinstance(encoder, TransformerEncoder)
    assert isinstance(decoder, TransformerDecoder)
    assert not isinstance(encoder.positions, RotaryPositions), "neither Marian nor Pegasus rotates"
    first = encoder.layers[0]
    assert isinstance(first, EncoderLayer)
    return encoder, decoder, first


def marian(sizes: dict[str, Any], tgt_vocab_size: int) -> "MarianMTModel":
    from transformers import MarianConfig, MarianMTModel

    sides = {"decoder_vocab_size": tgt_vocab_size, "share_encoder_decoder_embeddings": False}
    return MarianMTModel(MarianConfig(**sizes, **sides))


def pegasus(sizes: dict[str, Any], tgt_vocab_size: int) -> "PegasusForConditionalGeneration":
    """Pegasus has one vocabulary; the target's tables are put in afterwards."""
    from transformers import PegasusConfig, PegasusForConditionalGeneration

    reference = PegasusForConditionalGeneration(PegasusConfig(**sizes))
    reference.model.decoder.embed_tokens = nn.Embedding(tgt_vocab_size, sizes["d_model"], PAD)
    reference.lm_head = nn.Linear(sizes["d_model"], tgt_vocab_size, bias=False)
    reference.final_logits_bias = nn.Buffer(torch.zeros(1, tgt_vocab_size))
    reference.config.vocab_size = tgt_vocab_size
    return reference


def copy_stack(ours: Any, theirs: Any, embedding: Any, parts: dict[str, str]) -> None:
    """An encoder or a decoder, its embedding and its positions."""
    theirs.embed_tokens.weight.copy_(embedding.weight * embedding.scale)
    table = theirs.embed_positions.weight
    table.copy_(ours.positions(torch.zeros_like(table)[None], torch.arange(len(table)))[0])
    for layer, reference in zip(ours.layers, theirs.layers, strict=True):
        copy_layer(layer, reference, parts)
    if hasattr(theirs, "layer_norm"):
        theirs.layer_norm.load_state_dict(ours.norm.state_dict())


def copy_layer(ours: EncoderLayer | DecoderLayer, theirs: Any, parts: dict[str, str]) -> None:
    for name, part in parts.items():
        copy_attention(getattr(ours, part), getattr(theirs, name))
        getattr(theirs, f"{name}_layer_norm").load_state_dict(getattr(ours, f"{part}_residual").norm.state_dict())
    theirs.fc1.load_state_dict(ours.feed_forward.inner.state_dict())
    theirs.fc2.load_state_dict(ours.feed_forward.outer.state_dict())
    theirs.final_layer_norm.load_state_dict(ours.feed_forward_residual.norm.state_dict())


def copy_attention(ours: SelfAttention | CrossAttention, theirs: Any) -> None:
    theirs.out_proj.load_state_dict(ours.output.state_dict())
    for name, weight, bias in zip(("q_proj", "k_proj", "v_proj"), *projections(ours), strict=True):
        getattr(theirs, name).weight.copy_(weight)
        getattr(theirs, name).bias.copy_(bias)


def projections(attention: SelfAttention | CrossAttention) -> tuple[list[Tensor], list[Tensor]]:
    """Weights and biases of queries, keys and values."""
    if isinstance(attention, CrossAttention):
        layers = attention.query, attention.key, attention.value
        return [layer.weight for layer in layers], [layer.bias for layer in layers]
    joint = attention.query_key_value
    return list(joint.weight.chunk(3)), list(joint.bias.chunk(3))
