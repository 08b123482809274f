"""Pre-norm stacks around any ``Mixer``: an encoder that reads both ways, a decoder that also attends to the source.

A layer is a Transformer's with the recurrence where its self-attention was; its attention over the source stays (as in
Pitorro et al., 2024, arXiv:2407.05489). Norms divide by the root mean square (Zhang & Sennrich, 2019,
arXiv:1910.07467). Nothing adds positions: a recurrence knows the order.
"""

from collections.abc import Callable, Iterable

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
    Tree,
    masked_mean,
)
from s2s_lightning.nn.attention import CrossAttention, padding_bias
from s2s_lightning.nn.dropout import Dropout
from s2s_lightning.nn.layers import FeedForward
from s2s_lightning.nn.norm import RMSNorm
from s2s_lightning.nn.recurrent_mixer import Mixer

NORM_EPS = 1e-5


class EncoderLayer(nn.Module):
    """A mixer from left to right plus one from right to left, then a feed-forward layer.

    Args:
        new_mixer: makes a mixer of width D.
        d_model: D.
        d_ff: inner width of the feed-forward layer.
        dropout: on what each part adds.
    """

    def __init__(self, new_mixer: Callable[[int], Mixer], d_model: int, d_ff: int, dropout: float) -> None:
        super().__init__()
        self.mixer_norm = RMSNorm(d_model, NORM_EPS)
        self.ahead = new_mixer(d_model)
        self.back = new_mixer(d_model)
        self.feed_forward_norm = RMSNorm(d_model, NORM_EPS)
        self.feed_forward = FeedForward(d_model, d_ff, "gelu")
        self.dropout = Dropout(dropout)
        initialise(self.feed_forward)

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        """Map x (B, S, D). Back to front, padding comes first, and leaves the start as it is."""
        z = self.mixer_norm(x)
        x = x + self.dropout(self.ahead.read(z, padding) + self.back.read(z.flip(1), padding.flip(1)).flip(1))
        y: Tensor = x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))
        return y


class MixerEncoder(Encoder):
    """A stack of layers, as wide as the embeddings.

    Args:
        d_embedding: D.
        new_mixer: makes a mixer of width D.
        num_layers: layers.
        d_ff: inner width of the feed-forward layers.
        dropout: on embeddings and on what each part of a layer adds.
    """

    def __init__(
        self, d_embedding: int, new_mixer: Callable[[int], Mixer], num_layers: int, *, d_ff: int, dropout: float
    ) -> None:
        super().__init__()
        check_at_least(1, d_model=d_embedding, num_layers=num_layers, d_ff=d_ff)
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(EncoderLayer(new_mixer, d_embedding, d_ff, dropout) for _ in range(num_layers))
        self.norm = RMSNorm(d_embedding, NORM_EPS)
        self.shape = MemoryShape(d_embedding, (1, d_embedding))

    def forward(self, x: Tensor, padding: Tensor) -> Memory:
        x = self.dropout(x)
        for layer in self.layers:
            x = layer(x, padding)
        x = self.norm(x)
        return Memory(x, x, padding, masked_mean(x, padding))


class DecoderLayer(nn.Module):
    """A mixer, attention over the source, a feed-forward layer.

    Args:
        mixer: of width D.
        d_memory: D' of the encoder's states.
        num_heads: heads of the attention.
        d_ff: inner width of the feed-forward layer.
        dropout: on what each part adds.
    """

    def __init__(self, mixer: Mixer, d_memory: int, num_heads: int, d_ff: int, dropout: float) -> None:
        super().__init__()
        d_model = mixer.d_model
        self.mixer_norm = RMSNorm(d_model, NORM_EPS)
        self.mixer = mixer
        self.cross_attention_norm = RMSNorm(d_model, NORM_EPS)
        self.cross_attention = CrossAttention(d_model, d_memory, num_heads)
        self.feed_forward_norm = RMSNorm(d_model, NORM_EPS)
        self.feed_forward = FeedForward(d_model, d_ff, "gelu")
        self.dropout = Dropout(dropout)
        initialise(self.cross_attention)
        initialise(self.feed_forward)

    def forward(self, y: Tensor, carry: Tree, source: Source, need_weights: bool) -> tuple[Tensor, Tree, Tensor | None]:
        """Map y (B, T, D) to (B, T, D), the mixer's next carry, and the weights (B, H, T, S) if asked for."""
        z, carry = self.mixer(self.mixer_norm(y), carry)
        y = y + self.dropout(z)
        z, weights = self.cross_attention(self.cross_attention_norm(y), *source, need_weights)
        y = y + self.dropout(z)
        return y + self.dropout(self.feed_forward(self.feed_forward_norm(y))), carry, weights


class MixerDecoder(Decoder):
    """A stack of layers, as wide as the embeddings.

    Context: a ``Source`` of a sentence for each layer. Carry: that of each layer's mixer, of constant size.

    Args:
        d_embedding: D.
        memory: what the encoder hands over.
        new_mixer: makes a mixer of width D.
        num_layers: layers.
        num_heads: heads of the attention over the source.
        d_ff: inner width of the feed-forward layers.
        dropout: on embeddings and on what each part of a layer adds.

    Raises:
        UserError: a width that the heads cannot share.
    """

    def __init__(
        self,
        d_embedding: int,
        memory: MemoryShape,
        new_mixer: Callable[[int], Mixer],
        num_layers: int,
        *,
        num_heads: int,
        d_ff: int,
        dropout: float,
    ) -> None:
        super().__init__()
        check_at_least(1, d_model=d_embedding, num_layers=num_layers, num_heads=num_heads, d_ff=d_ff)
        if d_embedding % num_heads:
            raise UserError(f"d_model={d_embedding} is no multiple of num_heads={num_heads}: change one of them")
        self.dropout = Dropout(dropout)
        self.layers: Iterable[DecoderLayer] = nn.ModuleList(  # type: ignore[assignment]
            DecoderLayer(new_mixer(d_embedding), memory.d_states, num_heads, d_ff, dropout) for _ in range(num_layers)
        )
        self.norm = RMSNorm(d_embedding, NORM_EPS)
        self.d_out = d_embedding

    def start(self, memory: Memory) -> State:
        states = memory.states
        bias = padding_bias(memory.padding, states.dtype)
        context = [Source(layer.cross_attention.project(states, memory.values), bias) for layer in self.layers]
        return State(OfSentence(context), [layer.mixer.start(states.shape[0], states) for layer in self.layers])

    def forward(self, y: Tensor, state: State, need_weights: bool = False) -> DecoderOutput:
        y = self.dropout(y)
        carry, attention = [], []
        for layer, source, past in zip(self.layers, state.context.parts, state.carry, strict=True):
            y, past, weights = layer(y, past, source, need_weights)
            carry.append(past)
            attention.append(weights)
        weights = torch.stack(attention, 1) if need_weights else None
        return DecoderOutput(self.norm(y), State(state.context, carry), weights)
