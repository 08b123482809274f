"""Weights for CTranslate2's descriptions of layers, under its names.

A ``spec`` is a node of its description; it has types of its own, which are loaded only where it is installed.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from s2s_lightning.nn.gated_feed_forward import GATES, GatedFeedForward
from s2s_lightning.nn.grouped_attention import GroupedQueryAttention
from s2s_lightning.nn.layers import PostNorm
from s2s_lightning.nn.norm import NormedResidual, RMSNorm
from s2s_lightning.nn.positions import RotaryPositions

MAX_POSITIONS = 2048
"""Rows of the table of positions that are added to embeddings; the engine refuses longer sequences by name."""

ACTIVATIONS = {F.relu: "RELU", F.gelu: "GELU", GATES["swiglu"]: "SWISH", GATES["geglu"]: "GELUTanh"}
"""Function -> its name there."""

NORMED_TWICE = {
    "self_attention": ("input_layer_norm", "post_attention_layer_norm"),
    "attention": ("external_pre_encoder_attention_layer_norm", "external_post_encoder_attention_layer_norm"),
    "ffn": ("pre_feedforward_layer_norm", "post_feedforward_layer_norm"),
}
"""Its names of the norms before and after a part, where there are both."""


def normed_twice(residual: nn.Module) -> bool:
    """True if a part's input and its output are normalised."""
    return isinstance(residual, NormedResidual) and not isinstance(residual.after, nn.Identity)


def stack_options(stack: Any, attention: Any) -> dict[str, Any]:
    """The arguments that descriptions of an encoder and a decoder share; ``attention`` is the first layer's own."""
    first = next(iter(stack.layers))
    width = attention.output.in_features
    grouped = isinstance(attention, GroupedQueryAttention)
    heads = width // attention.d_head if grouped else attention.num_heads
    groups = attention.key.out_features // attention.d_head if grouped else heads
    return {
        "num_layers": len(stack.layers),
        "num_heads": heads,
        "num_heads_kv": None if groups == heads else groups,
        "pre_norm": not isinstance(first.feed_forward_residual, PostNorm),
        "pre_post_layer_norm": normed_twice(first.feed_forward_residual),
        "rms_norm": isinstance(stack.norm, RMSNorm),
        "ffn_glu": isinstance(first.feed_forward, GatedFeedForward),
        "rotary_dim": width // heads if isinstance(stack.positions, RotaryPositions) else None,
        "rotary_interleave": False,
    }


def fill_stack(spec: Any, stack: Any, embedding: Any) -> None:
    """Fill in the parts around the layers."""
    spec.scale_embeddings = float(embedding.scale)
    if not isinstance(stack.positions, RotaryPositions):
        places = torch.arange(MAX_POSITIONS, device=embedding.weight.device)
        nothing = embedding.weight.new_zeros(1, MAX_POSITIONS, embedding.embedding_dim)
        spec.position_encodings.encodings = array(stack.positions(nothing, places)[0])
    if not isinstance(stack.norm, nn.Identity):
        fill_norm(spec.layer_norm, stack.norm)


def fill_encoder_layers(spec: Any, layers: Iterable[Any]) -> None:
    for layer, ours in zip(spec.layer, layers, strict=True):
        fill_self_attention(layer.self_attention, ours.attention)
        fill_norms(layer, "self_attention", ours.attention_residual)
        fill_feed_forward(layer, ours)


def fill_decoder_layers(spec: Any, layers: Iterable[Any]) -> None:
    for layer, ours in zip(spec.layer, layers, strict=True):
        fill_self_attention(layer.self_attention, ours.self_attention)
        fill_norms(layer, "self_attention", ours.self_attention_residual)
        fill_cross_attention(layer.attention, ours.cross_attention)
        fill_norms(layer, "attention", ours.cross_attention_residual)
        fill_feed_forward(layer, ours)


def fill_self_attention(spec: Any, attention: Any) -> None:
    if isinstance(attention, GroupedQueryAttention):
        fill_linear(spec.linear[0], attention.query, attention.key, attention.value)
    else:
        fill_linear(spec.linear[0], attention.query_key_value)
    fill_linear(spec.linear[1], attention.output)


def fill_cross_attention(spec: Any, attention: Any) -> None:
    fill_linear(spec.linear[0], attention.query)
    fill_linear(spec.linear[1], attention.key, attention.value)
    fill_linear(spec.linear[2], attention.output)


def fill_feed_forward(layer: Any, ours: Any) -> None:
    if isinstance(ours.feed_forward, GatedFeedForward):
        fill_linear(layer.ffn.linear_0, ours.feed_forward.gate)
        fill_linear(layer.ffn.linear_0_noact, ours.feed_forward.inner)
    else:
        fill_linear(layer.ffn.linear_0, ours.feed_forward.inner)
    fill_linear(layer.ffn.linear_1, ours.feed_forward.outer)
    fill_norms(layer, "ffn", ours.feed_forward_residual)


def fill_norms(layer: Any, name: str, residual: Any) -> None:
    """The norm or norms of a layer's part."""
    if normed_twice(residual):
        before, after = NORMED_TWICE[name]
        fill_norm(getattr(layer, before), residual.before)
        fill_norm(getattr(layer, after), residual.after)
    else:
        norm = residual.before if isinstance(residual, NormedResidual) else residual.norm
        fill_norm(getattr(layer, name).layer_norm, norm)


def fill_norm(spec: Any, norm: Any) -> None:
    spec.gamma = array(norm.weight)
    if isinstance(norm, nn.LayerNorm):
        spec.beta = array(torch.zeros_like(norm.weight) if norm.bias is None else norm.bias)


def fill_linear(spec: Any, *layers: nn.Linear) -> None:
    """One product for all layers that read the same."""
    spec.weight = array(*(layer.weight for layer in layers))
    if layers[0].bias is not None:
        spec.bias = array(*(layer.bias for layer in layers))


def array(*parameters: Tensor) -> np.ndarray[Any, Any]:
    """One below the other, in float32."""
    return torch.cat([parameter.detach() for parameter in parameters]).float().cpu().numpy()
