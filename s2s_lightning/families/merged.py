"""A decoder with one attention over itself and the source (T5Gemma 2, Zhang et al., 2025, arXiv:2512.14856)."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from s2s_lightning.errors import UserError
from s2s_lightning.families.modern import LAYERS, Layer, Modern, ModernLayers
from s2s_lightning.families.transformer import initialise
from s2s_lightning.model import Decoder, DecoderOutput, Memory, MemoryShape, State
from s2s_lightning.nn.attention import causal_bias, padding_bias
from s2s_lightning.nn.dropout import Dropout
from s2s_lightning.nn.key_value_cache import Cache, KeyValue


class MergedContext(NamedTuple):
    """Source that a decoder with merged attention reads.

    Attributes:
        sources: keys and values of the source for each layer, (B, G, S, d).
        bias: hides its padding, (B, 1, 1, S).
        first: position of the first target token, (B, 1); None: 0.
    """

    sources: list[KeyValue]
    bias: Tensor
    first: Tensor | None


class MergedDecoder(Decoder):
    """One attention in each layer: a softmax over the target so far and the source together.

    softmax(q [k_self; k_source]^T / sqrt(d)) [v_self; v_source], all keys and values by the same matrices and the same
    norm. Queries and keys of the target turn with their positions, keys of the source do not. ``attention`` is the
    source's part of the weights, which sums to less than 1.

    Carry: a ``Cache`` of the target for each layer.

    Args:
        d_embedding: D.
        memory: what the encoder hands over, as wide as the embeddings.
        num_layers: layers.
        layers: what they are made of.

    Raises:
        UserError: a width or heads that cannot be shared, or states of another width.
    """

    attention_sums_to_one = False

    def __init__(
        self, d_embedding: int, memory: MemoryShape, num_layers: int = 3, *, layers: ModernLayers = LAYERS
    ) -> None:
        super().__init__()
        layers.check(d_embedding, num_layers)
        if memory.d_states != d_embedding:
            raise UserError(
                f"source and target are read by the same matrices, but the encoder's states are {memory.d_states} wide "
                f"and the embeddings {d_embedding}: make them equal"
            )
        self.positions = layers.new_positions(d_embedding)
        self.dropout = Dropout(layers.dropout)
        self.layers: Iterable[Layer] = nn.ModuleList(  # type: ignore[assignment]
            Layer(d_embedding, layers) for _ in range(num_layers)
        )
        self.norm = layers.new_norm(d_embedding)
        self.d_out = d_embedding
        initialise(self)

    def start(self, memory: Memory) -> State:
        sources = [layer.attention.project(memory.states, memory.values) for layer in self.layers]
        return nothing_written(MergedContext(sources, padding_bias(memory.padding, memory.states.dtype), None))

    def forward(self, y: Tensor, state: State, need_weights: bool = False) -> DecoderOutput:
        sources, source_bias, first = state.context
        length, done = y.shape[1], state.carry[0].length
        position = torch.arange(done, done + length, device=y.device)
        position = position if first is None else first + position
        rotation = self.positions.rotation(y, position)
        own_bias = causal_bias(length, done + length, source_bias).expand(len(y), 1, -1, -1)
        bias = torch.cat([own_bias, source_bias.expand(-1, -1, length, -1)], -1)
        y = self.dropout(self.positions(y, position))
        carry, attention = [], []
        for layer, source, past in zip(self.layers, sources, state.carry, strict=True):
            y, past, weights = layer(y, rotation, bias, past=past, source=source, need_weights=need_weights)
            carry.append(past)
            attention.append(weights)
        weights = torch.stack(attention, 1)[..., done + length :] if need_weights else None
        return DecoderOutput(self.norm(y), State(state.context, carry), weights)


def nothing_written(context: MergedContext) -> State:
    """The state before the first target token."""
    return State(context, [Cache.begin(kv) for kv in context.sources])


class Merged(Modern):
    """The modern encoder, and a decoder whose one attention reads target and source by the same softmax.

    T5Gemma 2 (Zhang et al., 2025, arXiv:2512.14856), its text alone, without windows of attention and with one base of
    the rotations. It normalises before and after each layer (norm_at both) and ties all embeddings.

    Card:
        year: 2025
        idea: self-attention and attention over the source are one, which saves the second's matrices.
        equation: `softmax(q [k_self; k_source]^T / sqrt(d)) [v_self; v_source]`
        training: O((T^2 + T S) D + T D^2), all positions at once
        decoding: O((T + S) D + D^2), a cache that grows with T
        use: where parameters are dear; source and target compete for each head.
        paper: Zhang et al., 2025, arXiv:2512.14856
        embeddings: D*(U+V) + V*(D+1)
        encoder: N*(2*D*D + 2*D*D*G//H + 3*D*F + 2*D + 2*D//H) + D
        decoder: L*(2*D*D + 2*D*D*G//H + 3*D*F + 2*D + 2*D//H) + D
    """

    decoder = MergedDecoder
