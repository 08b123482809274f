"""The encoder-decoder of today (T5Gemma, Zhang et al., 2025, arXiv:2504.06225), each part with a switch of its own."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from s2s_lightning.errors import UserError, check_at_least
from s2s_lightning.families.transformer import Source, initialise
from s2s_lightning.model import (
    Decoder,
    DecoderOutput,
    Encoder,
    Memory,
    MemoryShape,
    OfSentence,
    State,
    Tie,
    assemble,
    masked_mean,
)
from s2s_lightning.nn.attention import padding_bias
from s2s_lightning.nn.dropout import Dropout
from s2s_lightning.nn.gated_feed_forward import GatedFeedForward
from s2s_lightning.nn.grouped_attention import GroupedQueryAttention
from s2s_lightning.nn.key_value_cache import Cache, KeyValue
from s2s_lightning.nn.layers import FeedForward
from s2s_lightning.nn.norm import NormedResidual, RMSNorm
from s2s_lightning.nn.positions import Positions, RotaryPositions, Rotation, SinusoidalPositions
from s2s_lightning.training.module import Seq2SeqModule

FFN = Literal["swiglu", "geglu", "plain"]
Norm = Literal["rms", "layer"]
NormAt = Literal["input", "output", "both"]
PositionKind = Literal["rotary", "sinusoidal", "none"]


@dataclass(frozen=True, kw_only=True)
class ModernLayers:
    """Options of the layers of an encoder or a decoder.

    Args:
        num_heads: heads of queries.
        num_kv_heads: heads of keys and values, a divisor of num_heads; equal to it: multi-head attention.
        d_ff: inner width of the feed-forward layers; with a gate, 2/3 of a plain one's costs the same.
        dropout: on embeddings and on what each attention or feed-forward layer adds.
        ffn: "swiglu" or "geglu" feed-forward layers with a gate, or "plain" ones with GELU.
        norm: "rms" or "layer" normalisation, without biases.
        norm_at: normalise what a layer reads ("input"), what it adds ("output"), or both (Gemma 2, T5Gemma).
        qk_norm: normalise queries and keys, head by head (Gemma 3).
        positions: "rotary" queries and keys, "sinusoidal" vectors added to the embeddings, or "none".
    """

    num_heads: int = 4
    num_kv_heads: int = 2
    d_ff: int = 683
    dropout: float = 0.1
    ffn: FFN = "swiglu"
    norm: Norm = "rms"
    norm_at: NormAt = "input"
    qk_norm: bool = True
    positions: PositionKind = "rotary"

    def check(self, d_model: int, num_layers: int) -> None:
        """Raises UserError for widths or heads that cannot be shared, or no layer or head at all."""
        check_at_least(1, num_heads=self.num_heads, num_kv_heads=self.num_kv_heads, num_layers=num_layers)
        check_at_least(1, d_model=d_model, d_ff=self.d_ff)
        if d_model % (2 * self.num_heads):
            raise UserError(
                f"d_model={d_model} is no multiple of 2 * num_heads={2 * self.num_heads}: change one of them"
            )
        if self.num_heads % self.num_kv_heads:
            raise UserError(
                f"num_heads={self.num_heads} is no multiple of num_kv_heads={self.num_kv_heads}: change one of them"
            )

    def new_norm(self, width: int) -> nn.Module:
        return RMSNorm(width) if self.norm == "rms" else nn.LayerNorm(width, bias=False)

    def new_attention(self, d_model: int, d_memory: int | None = None) -> GroupedQueryAttention:
        qk_norm = self.new_norm if self.qk_norm else nn.Identity
        return GroupedQueryAttention(d_model, self.num_heads, self.num_kv_heads, d_memory=d_memory, qk_norm=qk_norm)

    def new_feed_forward(self, d_model: int) -> nn.Module:
        if self.ffn == "plain":
            return FeedForward(d_model, self.d_ff, "gelu")
        return GatedFeedForward(d_model, self.d_ff, self.ffn)

    def new_residual(self, d_model: int) -> NormedResidual:
        """Around each attention or feed-forward layer."""
        before = nn.Identity() if self.norm_at == "output" else self.new_norm(d_model)
        after = nn.Identity() if self.norm_at == "input" else self.new_norm(d_model)
        return NormedResidual(before, after, Dropout(self.dropout))

    def new_positions(self, d_model: int) -> Positions:
        """Return the positions of a stack."""
        if self.positions == "rotary":
            return RotaryPositions(d_model // self.num_heads)
        return SinusoidalPositions() if self.positions == "sinusoidal" else Positions()


LAYERS = ModernLayers()


class Layer(nn.Module):
    """One attention, then a feed-forward layer, each within a residual connection."""

    def __init__(self, d_model: int, layers: ModernLayers) -> None:
        super().__init__()
        self.attention = layers.new_attention(d_model)
        self.attention_residual = layers.new_residual(d_model)
        self.feed_forward = layers.new_feed_forward(d_model)
        self.feed_forward_residual = layers.new_residual(d_model)

    def forward(
        self,
        x: Tensor,
        rotation: Rotation | None,
        bias: Tensor,
        *,
        past: Cache | None = None,
        source: KeyValue | None = None,
        need_weights: bool = False,
    ) -> tuple[Tensor, Cache, Tensor | None]:
        """Read x, and by the same softmax what came before it and a source, where they are given.

        Args:
            x: (B, T, D).
            rotation: of its positions.
            bias: hides keys, in the order past, x, source; it broadcasts to (B, H, T, P + T + S).
            past: of the target before x.
            source: (B, G, S, d).
            need_weights: return the weights.

        Returns:
            (B, T, D), keys and values of past and x, the weights (B, H, T, P + T + S) or None.
        """
        z = self.attention_residual.enter(x)
        own = self.attention.keys_values(z, rotation)
        past = Cache.begin(own).append(own) if past is None else past.append(own)
        blocks = [past.kv] if source is None else [past.kv, source]
        z, weights = self.attention(self.attention.queries(z, rotation), blocks, bias, need_weights)
        x = self.attention_residual.leave(x, z)
        z = self.feed_forward(self.feed_forward_residual.enter(x))
        return self.feed_forward_residual.leave(x, z), past, weights

    def keys_values(self, x: Tensor, rotation: Rotation | None) -> KeyValue:
        """Return keys and values of x alone, (B, G, T, d)."""
        return self.attention.keys_values(self.attention_residual.enter(x), rotation)


class ModernEncoder(Encoder):
    """A stack of layers, as wide as the embeddings, that ends in a norm.

    Args:
        d_embedding: D.
        num_layers: layers.
        layers: what they are made of.

    Raises:
        UserError: a width or heads that cannot be shared.
    """

    def __init__(self, d_embedding: int, num_layers: int = 3, *, layers: ModernLayers = LAYERS) -> None:
        super().__init__()
        layers.check(d_embedding, num_layers)
        self.positions = layers.new_positions(d_embedding)
        self.dropout = Dropout(layers.dropout)
        self.layers = nn.ModuleList(Layer(d_embedding, layers) for _ in range(num_layers))
        self.norm = layers.new_norm(d_embedding)
        self.shape = MemoryShape(d_embedding, (1, d_embedding))
        initialise(self)

    def forward(self, x: Tensor, padding: Tensor) -> Memory:
        position = torch.arange(x.shape[1], device=x.device)
        rotation = self.positions.rotation(x, position)
        bias = padding_bias(padding, x.dtype)
        x = self.dropout(self.positions(x, position))
        for layer in self.layers:
            x, _, _ = layer(x, rotation, bias)
        x = self.norm(x)
        return Memory(x, x, padding, masked_mean(x, padding))


class ModernDecoderLayer(nn.Module):
    """Causal self-attention, attention over the source, a feed-forward layer, each within a residual connection."""

    def __init__(self, d_model: int, d_memory: int, layers: ModernLayers) -> None:
        super().__init__()
        self.self_attention = layers.new_attention(d_model)
        self.self_attention_residual = layers.new_residual(d_model)
        self.cross_attention = layers.new_attention(d_model, d_memory)
        self.cross_attention_residual = layers.new_residual(d_model)
        self.feed_forward = layers.new_feed_forward(d_model)
        self.feed_forward_residual = layers.new_residual(d_model)

    def forward(
        self, y: Tensor, past: Cache, source: Source, rotation: Rotation | None, need_weights: bool
    ) -> tuple[Tensor, Cache, Tensor | None]:
        """Map y (B, T, D) to (B, T, D), the past of the next call, and the weights (B, H, T, S) if asked for."""
        z = self.self_attention_residual.enter(y)
        past = past.append(self.self_attention.keys_values(z, rotation))
        z = self.self_attention.read_back(self.self_attention.queries(z, rotation), past.kv)
        y = self.self_attention_residual.leave(y, z)
        z, weights = self.cross_attention.read(self.cross_attention_residual.enter(y), *source, need_weights)
        y = self.cross_attention_residual.leave(y, z)
        z = self.feed_forward(self.feed_forward_residual.enter(y))
        return self.feed_forward_residual.leave(y, z), past, weights


class ModernDecoder(Decoder):
    """A stack of layers, as wide as the embeddings, that ends in a norm.

    Context: a ``Source`` of a sentence for each layer. Carry: a ``Cache`` for each layer, as long as the target so
    far, which is also the position; both hold the heads of keys and values alone.

    Args:
        d_embedding: D.
        memory: what the encoder hands over.
        num_layers: layers.
        layers: what they are made of.

    Raises:
        UserError: a width or heads that cannot be shared.
    """

    def __init__(
        self, d_embedding: int, memory: MemoryShape, num_layers: int = 3, *, layers: ModernLayers = LAYERS
    ) -> None:
        super().__init__()
        layers.check(d_embedding, num_layers)
        self.positions = layers.new_positions(d_embedding)
        self.dropout = Dropout(layers.dropout)
        self.layers: Iterable[ModernDecoderLayer] = nn.ModuleList(  # type: ignore[assignment]
            ModernDecoderLayer(d_embedding, memory.d_states, layers) for _ in range(num_layers)
        )
        self.norm = layers.new_norm(d_embedding)
        self.d_out = d_embedding
        initialise(self)

    def start(self, memory: Memory) -> State:
        bias = padding_bias(memory.padding, memory.states.dtype)
        kvs = [layer.cross_attention.project(memory.states, memory.values) for layer in self.layers]
        context = OfSentence([Source(kv, bias) for kv in kvs])
        return State(context, [Cache.begin(kv) for kv in kvs])

    def forward(self, y: Tensor, state: State, need_weights: bool = False) -> DecoderOutput:
        done = state.carry[0].length
        position = torch.arange(done, done + y.shape[1], device=y.device)
        rotation = self.positions.rotation(y, position)
        y = self.dropout(self.positions(y, position))
        carry, attention = [], []
        for layer, source, past in zip(self.layers, state.context.parts, state.carry, strict=True):
            y, past, weights = layer(y, past, source, rotation, need_weights)
            carry.append(past)
            attention.append(weights)
        weights = torch.stack(attention, 1) if need_weights else None
        return DecoderOutput(self.norm(y), State(state.context, carry), weights)


class Modern(Seq2SeqModule):
    """A Transformer with the parts of T5Gemma (Zhang et al., 2025, arXiv:2504.06225), each of which can be left out.

    T5Gemma takes Gemma 2's: rotary positions, RMSNorm before and after each layer (norm_at both), GeGLU, grouped-query
    attention; normalised queries and keys are Gemma 3's. Left out: windows of attention in every other layer, the tanh
    that caps scores, and dropout behind the last norm.

    Card:
        year: 2025
        idea: the Transformer with rotary positions, RMSNorm, gated feed-forward layers, shared and normed keys.
        equation: `softmax(norm(q) norm(k)^T / sqrt(d)) v`, `W2 (silu(W x) * V x)`
        training: O(T^2 D + T D^2), all positions at once
        decoding: O((T + S) D + D^2), a cache that grows with T, of `num_kv_heads` heads alone
        use: instead of the Transformer, or to see which of its parts matters.
        paper: Zhang et al., 2025, arXiv:2504.06225
        embeddings: D*(U+V) + V*(D+1)
        encoder: N*(2*D*D + 2*D*D*G//H + 3*D*F + 2*D + 2*D//H) + D
        decoder: L*(4*D*D + 4*D*D*G//H + 3*D*F + 3*D + 4*D//H) + D

    Args:
        src_vocab_size: symbols of the source vocabulary; the command line fills it in.
        tgt_vocab_size: symbols of the target vocabulary; null: one vocabulary for both sides.
        d_model: width of embeddings and states, a multiple of 2 * num_heads.
        num_encoder_layers: layers of the encoder.
        num_decoder_layers: layers of the decoder.
        tie_embeddings: what shares one matrix: "all" embeddings and the readout (the source's with a joint vocabulary
            alone), the "readout" and the target's, or "none".
        options: as of ``ModernLayers``.

    Raises:
        UserError: d_model is no multiple of 2 * num_heads, or num_heads none of num_kv_heads.
    """

    decoder: ClassVar[Callable[..., Decoder]] = ModernDecoder

    def __init__(
        self,
        src_vocab_size: int,
        tgt_vocab_size: int | None = None,
        *,
        d_model: int = 256,
        num_encoder_layers: int = 3,
        num_decoder_layers: int = 3,
        tie_embeddings: Tie = "all",
        **options: Any,
    ) -> None:
        check_at_least(1, num_encoder_layers=num_encoder_layers, num_decoder_layers=num_decoder_layers)
        layers = ModernLayers(**options)
        encoder = ModernEncoder(d_model, num_encoder_layers, layers=layers)
        decoder = self.decoder(d_model, encoder.shape, num_decoder_layers, layers=layers)
        super().__init__(
            assemble(encoder, decoder, src_vocab_size, tgt_vocab_size, d_model, tie_embeddings, embedding_std=1.0)
        )
