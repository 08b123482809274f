"""The Transformer (Vaswani et al., 2017, arXiv:1706.03762), pre- or post-norm, with a choice of positions."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from s2s_lightning.errors import UserError, check_at_least
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
from s2s_lightning.nn.attention import CausalSelfAttention, CrossAttention, SelfAttention, padding_bias
from s2s_lightning.nn.dropout import Dropout
from s2s_lightning.nn.key_value_cache import Cache, KeyValue
from s2s_lightning.nn.layers import Activation, FeedForward, LayerDrop, PostNorm, PreNorm, Residual, pass_through
from s2s_lightning.nn.positions import LearnedPositions, Positions, RotaryPositions, Rotation, SinusoidalPositions
from s2s_lightning.training.module import Seq2SeqModule


@dataclass(frozen=True, kw_only=True)
class Layers:
    """Options of the layers of an encoder or a decoder.

    Args:
        num_heads: heads of each attention.
        d_ff: inner width of the feed-forward layers.
        dropout: on embeddings and on what each attention or feed-forward layer adds.
        attention_dropout: on attention weights. Above 0, training takes a slower way to compute attention.
        activation_dropout: between the two products of a feed-forward layer.
        layer_drop: probability that a sentence skips a layer in training (Fan et al., 2020).
        activation: of the feed-forward layers.
        norm: layer normalisation before each layer ("pre", learns with any warm-up) or after it ("post", the paper's).
        positions: "sinusoidal" or "learned" vectors added to the embeddings, or "rotary" queries and keys.
        max_positions: tokens with a learned position of their own, with positions "learned"; later ones share the last.
    """

    num_heads: int = 4
    d_ff: int = 1024
    dropout: float = 0.1
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    layer_drop: float = 0.0
    activation: Activation = "relu"
    norm: Literal["pre", "post"] = "pre"
    positions: Literal["sinusoidal", "learned", "rotary"] = "sinusoidal"
    max_positions: int = 1024

    def check(self, d_model: int, num_layers: int) -> None:
        """Raises UserError for a width that the heads cannot share, or no layer or head at all."""
        check_at_least(1, d_model=d_model, num_heads=self.num_heads, d_ff=self.d_ff, num_layers=num_layers)
        check_at_least(1, max_positions=self.max_positions)
        if d_model % (2 * self.num_heads):
            raise UserError(
                f"d_model={d_model} is no multiple of 2 * num_heads={2 * self.num_heads}: change one of them"
            )

    def new_positions(self, d_model: int) -> Positions:
        """Return the positions of a stack."""
        if self.positions == "learned":
            return LearnedPositions(self.max_positions, d_model)
        return SinusoidalPositions() if self.positions == "sinusoidal" else RotaryPositions(d_model // self.num_heads)

    def new_feed_forward(self, d_model: int) -> FeedForward:
        return FeedForward(d_model, self.d_ff, self.activation, self.activation_dropout)

    def new_residual(self, d_model: int) -> Residual:
        """Around each attention or feed-forward layer."""
        return (PreNorm if self.norm == "pre" else PostNorm)(d_model, self.dropout)

    def last_norm(self, d_model: int) -> nn.Module:
        """After the last layer: a pre-norm stack ends in a norm of its own."""
        return nn.LayerNorm(d_model) if self.norm == "pre" else nn.Identity()


class EncoderLayer(nn.Module):
    """Self-attention, then a feed-forward layer, each within a residual connection."""

    def __init__(self, d_model: int, layers: Layers) -> None:
        super().__init__()
        self.attention = SelfAttention(d_model, layers.num_heads, layers.attention_dropout)
        self.attention_residual = layers.new_residual(d_model)
        self.feed_forward = layers.new_feed_forward(d_model)
        self.feed_forward_residual = layers.new_residual(d_model)

    def forward(self, x: Tensor, bias: Tensor, rotation: Rotation | None) -> Tensor:
        y = self.attention(self.attention_residual.enter(x), bias, rotation)
        x = self.attention_residual.leave(x, y)
        y = self.feed_forward(self.feed_forward_residual.enter(x))
        return self.feed_forward_residual.leave(x, y)


class TransformerEncoder(Encoder):
    """A stack of layers, as wide as the embeddings.

    Args:
        d_embedding: D.
        num_layers: layers.
        layers: what they are made of.

    Raises:
        UserError: a width that the heads cannot share.
    """

    def __init__(self, d_embedding: int, num_layers: int = 3, *, layers: Layers = Layers()) -> None:
        super().__init__()
        layers.check(d_embedding, num_layers)
        self.positions = layers.new_positions(d_embedding)
        self.dropout = Dropout(layers.dropout)
        self.layers = nn.ModuleList(EncoderLayer(d_embedding, layers) for _ in range(num_layers))
        self.layer_drop = LayerDrop(layers.layer_drop, num_layers)
        self.norm = layers.last_norm(d_embedding)
        self.shape = MemoryShape(d_embedding, (1, d_embedding))
        initialise(self)

    def forward(self, x: Tensor, padding: Tensor) -> Memory:
        position = torch.arange(x.shape[1], device=x.device)
        rotation = self.positions.rotation(x, position)
        bias = padding_bias(padding, x.dtype)
        x = self.dropout(self.positions(x, position))
        for layer, passing in zip(self.layers, self.layer_drop(x), strict=True):
            x = pass_through(passing, layer(x, bias, rotation), x)
        x = self.norm(x)
        return Memory(x, x, padding, masked_mean(x, padding))


class Source(NamedTuple):
    """Source as cross-attention reads it: a layer's keys and values, and the bias of the padding (B, 1, 1, S)."""

    kv: KeyValue
    bias: Tensor


class Context(NamedTuple):
    """Parts that are fixed for a whole target: the ``Source`` that each layer reads, and the draws of ``LayerDrop``."""

    sources: OfSentence
    passing: list[Tensor | None]


class DecoderLayer(nn.Module):
    """Causal self-attention, attention over the source, a feed-forward layer, each within a residual connection."""

    def __init__(self, d_model: int, d_memory: int, layers: Layers) -> None:
        super().__init__()
        heads, dropout = layers.num_heads, layers.attention_dropout
        self.self_attention = CausalSelfAttention(d_model, heads, dropout)
        self.self_attention_residual = layers.new_residual(d_model)
        self.cross_attention = CrossAttention(d_model, d_memory, heads, dropout)
        self.cross_attention_residual = layers.new_residual(d_model)
        self.feed_forward = layers.new_feed_forward(d_model)
        self.feed_forward_residual = layers.new_residual(d_model)

    def forward(
        self, y: Tensor, past: Cache, source: Source, rotation: Rotation | None, need_weights: bool
    ) -> tuple[Tensor, Cache, Tensor | None]:
        """Map y (B, T, D) to (B, T, D), the past of the next call, and the weights (B, H, T, S) if asked for."""
        z, past = self.self_attention(self.self_attention_residual.enter(y), past, rotation)
        y = self.self_attention_residual.leave(y, z)
        z, weights = self.cross_attention(self.cross_attention_residual.enter(y), *source, need_weights)
        y = self.cross_attention_residual.leave(y, z)
        z = self.feed_forward(self.feed_forward_residual.enter(y))
        return self.feed_forward_residual.leave(y, z), past, weights


class TransformerDecoder(Decoder):
    """A stack of layers, as wide as the embeddings.

    Context: a ``Context``. Carry: a ``Cache`` for each layer, as long as the target so far, which is also the
    position.

    Args:
        d_embedding: D.
        memory: what the encoder hands over.
        num_layers: layers.
        layers: what they are made of.

    Raises:
        UserError: a width that the heads cannot share.
    """

    def __init__(
        self,
        d_embedding: int,
        memory: MemoryShape,
        num_layers: int = 3,
        *,
        layers: Layers = Layers(),
    ) -> None:
        super().__init__()
        layers.check(d_embedding, num_layers)
        self.positions = layers.new_positions(d_embedding)
        self.dropout = Dropout(layers.dropout)
        self.layers: Iterable[DecoderLayer] = nn.ModuleList(  # type: ignore[assignment]
            DecoderLayer(d_embedding, memory.d_states, layers) for _ in range(num_layers)
        )
        self.layer_drop = LayerDrop(layers.layer_drop, num_layers)
        self.norm = layers.last_norm(d_embedding)
        self.d_out = d_embedding
        initialise(self)

    def start(self, memory: Memory) -> State:
        bias = padding_bias(memory.padding, memory.states.dtype)
        kvs = [layer.cross_attention.project(memory.states, memory.values) for layer in self.layers]
        context = Context(OfSentence([Source(kv, bias) for kv in kvs]), self.layer_drop(memory.states))
        return State(context, [Cache.begin(kv) for kv in kvs])

    def forward(self, y: Tensor, state: State, need_weights: bool = False) -> DecoderOutput:
        done = state.carry[0].length
        position = torch.arange(done, done + y.shape[1], device=y.device)
        rotation = self.positions.rotation(y, position)
        y = self.dropout(self.positions(y, position))
        carry, attention = [], []
        sources, passings = state.context
        for layer, source, passing, past in zip(self.layers, sources.parts, passings, state.carry, strict=True):
            z, past, weights = layer(y, past, source, rotation, need_weights)
            y = pass_through(passing, z, y)
            carry.append(past)
            attention.append(weights)
        weights = torch.stack(attention, 1) if need_weights else None
        return DecoderOutput(self.norm(y), State(state.context, carry), weights)


class Transformer(Seq2SeqModule):
    """Attention alone, in encoder and decoder (Vaswani et al., 2017, arXiv:1706.03762).

    The paper's base model: norm post, 6 + 6 layers, d_model 512, 8 heads, d_ff 2048, dropout 0.1.

    Card:
        year: 2017
        idea: every position reads every other by attention; nothing waits for time.
        equation: `softmax(Q K^T / sqrt(d)) V`
        training: O(T^2 D + T D^2), all positions at once
        decoding: O((T + S) D + D^2), a cache that grows with T
        use: the default wherever there is enough data.
        paper: Vaswani et al., 2017, arXiv:1706.03762
        embeddings: D*(U+V) + V*(D+1)
        encoder: N*(4*D*(D+1) + 2*D*F+D+F + 4*D) + 2*D
        decoder: L*(8*D*(D+1) + 2*D*F+D+F + 6*D) + 2*D

    Args:
        src_vocab_size: symbols of the source vocabulary; the command line fills it in.
        tgt_vocab_size: symbols of the target vocabulary; null: one vocabulary for both sides.
        d_model: width of embeddings and states, a multiple of 2 * num_heads.
        num_encoder_layers: layers of the encoder.
        num_decoder_layers: layers of the decoder.
        tie_embeddings: what shares one matrix: "all" embeddings and the readout (the source's with a joint vocabulary
            alone), the "readout" and the target's, or "none".
        options: as of ``Layers``.

    Raises:
        UserError: d_model is no multiple of 2 * num_heads.
    """

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
        layers = Layers(**options)
        encoder = TransformerEncoder(d_model, num_encoder_layers, layers=layers)
        decoder = TransformerDecoder(d_model, encoder.shape, num_decoder_layers, layers=layers)
        super().__init__(
            assemble(encoder, decoder, src_vocab_size, tgt_vocab_size, d_model, tie_embeddings, embedding_std=1.0)
        )


def initialise(part: nn.Module) -> None:
    """Matrices uniform as in Glorot & Bengio (2010), biases zero; fused query, key and value count as one matrix."""
    for module in part.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
