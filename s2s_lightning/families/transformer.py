"""The Transformer (Vaswani et al., 2017, arXiv:1706.03762), pre- or post-norm, with a choice of positions."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from s2s_lightning.architecture import Decoder, DecoderOutput, Encoder, Memory, State, Tie, assemble, masked_mean
from s2s_lightning.errors import UserError, check_at_least
from s2s_lightning.module import Seq2SeqModule
from s2s_lightning.nn.attention import CausalSelfAttention, CrossAttention, KeyValue, SelfAttention, padding_bias
from s2s_lightning.nn.dropout import Dropout
from s2s_lightning.nn.layers import Activation, FeedForward, PostNorm, PreNorm, Residual
from s2s_lightning.nn.positions import LearnedPositions, Positions, RotaryPositions, Rotation, SinusoidalPositions


class EncoderLayer(nn.Module):
    """Self-attention, then a feed-forward layer, each within a residual connection."""

    def __init__(self, attention: SelfAttention, feed_forward: FeedForward, residual: Callable[[], Residual]) -> None:
        super().__init__()
        self.attention = attention
        self.attention_residual = residual()
        self.feed_forward = feed_forward
        self.feed_forward_residual = residual()

    def forward(self, x: Tensor, bias: Tensor, rotation: Rotation | None) -> Tensor:
        y = self.attention(self.attention_residual.enter(x), bias, rotation)
        x = self.attention_residual.leave(x, y)
        y = self.feed_forward(self.feed_forward_residual.enter(x))
        return self.feed_forward_residual.leave(x, y)


class TransformerEncoder(Encoder):
    """A stack of layers; ``norm`` comes after the last."""

    def __init__(
        self, layers: Sequence[EncoderLayer], positions: Positions, norm: nn.Module, *, d_model: int, dropout: float
    ) -> None:
        super().__init__()
        self.positions = positions
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(layers)
        self.norm = norm
        self.d_out = d_model
        self.summary_shape = (1, d_model)

    def forward(self, x: Tensor, padding: Tensor) -> Memory:
        position = torch.arange(x.shape[1], device=x.device)
        rotation = self.positions.rotation(x, position)
        bias = padding_bias(padding, x.dtype)
        x = self.dropout(self.positions(x, position))
        for layer in self.layers:
            x = layer(x, bias, rotation)
        x = self.norm(x)
        return Memory(x, x, padding, masked_mean(x, padding))


class Source(NamedTuple):
    """What cross-attention reads of the source: a layer's keys and values, and the bias of the padding (B, 1, 1, S)."""

    kv: KeyValue
    bias: Tensor


class DecoderLayer(nn.Module):
    """Causal self-attention, attention over the source, a feed-forward layer, each within a residual connection."""

    def __init__(
        self,
        self_attention: CausalSelfAttention,
        cross_attention: CrossAttention,
        feed_forward: FeedForward,
        residual: Callable[[], Residual],
    ) -> None:
        super().__init__()
        self.self_attention = self_attention
        self.self_attention_residual = residual()
        self.cross_attention = cross_attention
        self.cross_attention_residual = residual()
        self.feed_forward = feed_forward
        self.feed_forward_residual = residual()

    def forward(
        self, y: Tensor, past: KeyValue, source: Source, rotation: Rotation | None, need_weights: bool
    ) -> tuple[Tensor, KeyValue, Tensor | None]:
        """Of y (B, T, D): (B, T, D), the past of the next call, the weights (B, H, T, S) if asked for."""
        z, past = self.self_attention(self.self_attention_residual.enter(y), past, rotation)
        y = self.self_attention_residual.leave(y, z)
        z, weights = self.cross_attention(self.cross_attention_residual.enter(y), *source, need_weights)
        y = self.cross_attention_residual.leave(y, z)
        z = self.feed_forward(self.feed_forward_residual.enter(y))
        return self.feed_forward_residual.leave(y, z), past, weights


class TransformerDecoder(Decoder):
    """A stack of layers; ``norm`` comes after the last.

    Context: a ``Source`` for each layer. Carry: a ``KeyValue`` for each layer, as long as the target so far, which is
    also the position.
    """

    def __init__(
        self, layers: Sequence[DecoderLayer], positions: Positions, norm: nn.Module, *, d_model: int, dropout: float
    ) -> None:
        super().__init__()
        self.positions = positions
        self.dropout = Dropout(dropout)
        self.layers: Iterable[DecoderLayer] = nn.ModuleList(layers)  # type: ignore[assignment]
        self.norm = norm
        self.d_out = d_model

    def start(self, memory: Memory) -> State:
        bias = padding_bias(memory.padding, memory.states.dtype)
        kvs = [layer.cross_attention.project(memory.states, memory.values) for layer in self.layers]
        return State([Source(kv, bias) for kv in kvs], [KeyValue(kv.keys[:, :, :0], kv.values[:, :, :0]) for kv in kvs])

    def forward(self, y: Tensor, state: State, need_weights: bool = False) -> DecoderOutput:
        done = state.carry[0].keys.shape[2]
        position = torch.arange(done, done + y.shape[1], device=y.device)
        rotation = self.positions.rotation(y, position)
        y = self.dropout(self.positions(y, position))
        carry, attention = [], []
        for layer, source, past in zip(self.layers, state.context, state.carry, strict=True):
            y, past, weights = layer(y, past, source, rotation, need_weights)
            carry.append(past)
            attention.append(weights)
        weights = torch.stack(attention, 1) if need_weights else None
        return DecoderOutput(self.norm(y), State(state.context, carry), weights)


class Transformer(Seq2SeqModule):
    """Attention alone, in encoder and decoder (Vaswani et al., 2017, arXiv:1706.03762).

    The paper's base model: norm post, 6 + 6 layers, d_model 512, 8 heads, d_ff 2048, dropout 0.1.

    Args:
        src_vocab_size: symbols of the source vocabulary; the command line fills it in.
        tgt_vocab_size: symbols of the target vocabulary; null: one vocabulary for both sides.
        d_model: width of embeddings and states, a multiple of 2 * num_heads.
        num_heads: heads of each attention.
        d_ff: inner width of the feed-forward layers.
        num_encoder_layers: layers of the encoder.
        num_decoder_layers: layers of the decoder.
        dropout: on embeddings and on what each attention or feed-forward layer adds.
        attention_dropout: on attention weights. Above 0, training takes a slower way to compute attention.
        activation_dropout: between the two products of a feed-forward layer.
        activation: of the feed-forward layers.
        norm: layer normalisation before each layer ("pre", learns with any warm-up) or after it ("post", the paper's).
        positions: "sinusoidal" or "learned" vectors added to the embeddings, or "rotary" queries and keys.
        max_positions: tokens with a learned position of their own, with positions "learned"; later ones share the last.
        tie_embeddings: what shares one matrix: "all" embeddings and the readout (the source's with a joint vocabulary
            alone), the "readout" and the target's, or "none".

    Raises:
        UserError: d_model is no multiple of 2 * num_heads.
    """

    def __init__(
        self,
        src_vocab_size: int,
        tgt_vocab_size: int | None = None,
        *,
        d_model: int = 256,
        num_heads: int = 4,
        d_ff: int = 1024,
        num_encoder_layers: int = 3,
        num_decoder_layers: int = 3,
        dropout: float = 0.1,
        attention_dropout: float = 0.0,
        activation_dropout: float = 0.0,
        activation: Activation = "relu",
        norm: Literal["pre", "post"] = "pre",
        positions: Literal["sinusoidal", "learned", "rotary"] = "sinusoidal",
        max_positions: int = 1024,
        tie_embeddings: Tie = "all",
    ) -> None:
        check_at_least(
            1, num_heads=num_heads, num_encoder_layers=num_encoder_layers, num_decoder_layers=num_decoder_layers
        )
        if d_model % (2 * num_heads):
            raise UserError(f"d_model={d_model} is no multiple of 2 * num_heads={2 * num_heads}: change one of them")
        new_positions: dict[str, Callable[[], Positions]] = {
            "sinusoidal": SinusoidalPositions,
            "learned": partial(LearnedPositions, max_positions, d_model),
            "rotary": partial(RotaryPositions, d_model // num_heads),
        }
        last_norm: dict[str, Callable[[], nn.Module]] = {"pre": partial(nn.LayerNorm, d_model), "post": nn.Identity}
        residual = partial({"pre": PreNorm, "post": PostNorm}[norm], d_model, dropout)
        feed_forward = partial(FeedForward, d_model, d_ff, activation, activation_dropout)
        self_attention = partial(SelfAttention, d_model, num_heads, attention_dropout)
        causal_attention = partial(CausalSelfAttention, d_model, num_heads, attention_dropout)
        cross_attention = partial(CrossAttention, d_model, d_model, num_heads, attention_dropout)
        encoder = TransformerEncoder(
            [EncoderLayer(self_attention(), feed_forward(), residual) for _ in range(num_encoder_layers)],
            new_positions[positions](),
            last_norm[norm](),
            d_model=d_model,
            dropout=dropout,
        )
        decoder = TransformerDecoder(
            [
                DecoderLayer(causal_attention(), cross_attention(), feed_forward(), residual)
                for _ in range(num_decoder_layers)
            ],
            new_positions[positions](),
            last_norm[norm](),
            d_model=d_model,
            dropout=dropout,
        )
        initialise(encoder)
        initialise(decoder)
        super().__init__(
            assemble(
                encoder,
                decoder,
                src_vocab_size=src_vocab_size,
                tgt_vocab_size=tgt_vocab_size,
                d_embedding=d_model,
                tie_embeddings=tie_embeddings,
                embedding_std=1.0,
            )
        )


def initialise(part: nn.Module) -> None:
    """Matrices uniform as in Glorot & Bengio (2010), biases zero; fused query, key and value count as one matrix."""
    for module in part.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
