"""Encoder and decoder around element-wise recurrences, which SRU, IndRNN, minGRU and minLSTM share.

Blocks after those of the Transformer, with a recurrence for self-attention: it knows the order, so there are no
positions. Shape letters: B batch, S source, T target, D width, N encoder layers.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from s2s_lightning.errors import UserError, check_at_least
from s2s_lightning.families.transformer import Source
from s2s_lightning.families.transformer import initialise as initialise_products
from s2s_lightning.model import Decoder, DecoderOutput, Encoder, Memory, MemoryShape, OfSentence, State
from s2s_lightning.nn.attention import CrossAttention, padding_bias
from s2s_lightning.nn.dropout import Dropout
from s2s_lightning.nn.elementwise_recurrence import ElementwiseRecurrence
from s2s_lightning.nn.layers import FeedForward, PreNorm

NewRecurrence = Callable[[int, bool], ElementwiseRecurrence]
"""Makes the recurrence of a layer from D and whether it reads both ways."""


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """Options of the layers around the recurrences.

    Args:
        num_heads: heads of the decoder's attention over the source.
        d_ff: inner width of the feed-forward layers.
        dropout: on embeddings and on what each recurrence, attention or feed-forward layer adds.
    """

    num_heads: int = 4
    d_ff: int = 512
    dropout: float = 0.1

    def check(self, d_model: int, num_layers: int) -> None:
        """Raises UserError for a width that heads or directions cannot share, or no layer at all."""
        check_at_least(1, d_model=d_model, num_heads=self.num_heads, d_ff=self.d_ff, num_layers=num_layers)
        if d_model % self.num_heads or d_model % 2:
            raise UserError(
                f"d_model={d_model} must be even and a multiple of num_heads={self.num_heads}: change one of them"
            )


class EncoderBlock(nn.Module):
    """A recurrence that reads both ways, then a feed-forward layer, each within a pre-norm residual connection."""

    def __init__(self, recurrence: ElementwiseRecurrence, blocks: Blocks) -> None:
        super().__init__()
        d_model = recurrence.d_model
        self.recurrence = recurrence
        self.recurrence_residual = PreNorm(d_model, blocks.dropout)
        self.feed_forward = FeedForward(d_model, blocks.d_ff)
        self.feed_forward_residual = PreNorm(d_model, blocks.dropout)

    def forward(self, x: Tensor, padding: Tensor) -> tuple[Tensor, Tensor]:
        """Map x (B, S, D) to (B, S, D) and the last state (B, D)."""
        y = self.recurrence_residual.enter(x)
        y, state = self.recurrence(y, self.recurrence.zeros(x), padding)
        x = self.recurrence_residual.leave(x, y.to(x.dtype))
        y = self.feed_forward(self.feed_forward_residual.enter(x))
        return self.feed_forward_residual.leave(x, y), state


class BlockEncoder(Encoder):
    """A stack of blocks, as wide as the embeddings; its summary is the last state of each.

    Args:
        d_embedding: D.
        num_layers: blocks.
        new_recurrence: makes their recurrences.
        blocks: what surrounds them.

    Raises:
        UserError: a width that heads or directions cannot share.
    """

    def __init__(
        self, d_embedding: int, num_layers: int, new_recurrence: NewRecurrence, *, blocks: Blocks = Blocks()
    ) -> None:
        super().__init__()
        blocks.check(d_embedding, num_layers)
        self.dropout = Dropout(blocks.dropout)
        self.layers = nn.ModuleList(EncoderBlock(new_recurrence(d_embedding, True), blocks) for _ in range(num_layers))
        self.norm = nn.LayerNorm(d_embedding)
        self.shape = MemoryShape(d_embedding, (num_layers, d_embedding))
        initialise(self)

    def forward(self, x: Tensor, padding: Tensor) -> Memory:
        x = self.dropout(x)
        summary = []
        for layer in self.layers:
            x, state = layer(x, padding)
            summary.append(state)
        x = self.norm(x)
        return Memory(x, x, padding, torch.stack(summary, 1).to(x.dtype))


class DecoderBlock(nn.Module):
    """A recurrence, attention over the source, a feed-forward layer, each within a pre-norm residual connection."""

    def __init__(self, recurrence: ElementwiseRecurrence, d_memory: int, blocks: Blocks) -> None:
        super().__init__()
        d_model = recurrence.d_model
        self.recurrence = recurrence
        self.recurrence_residual = PreNorm(d_model, blocks.dropout)
        self.cross_attention = CrossAttention(d_model, d_memory, blocks.num_heads)
        self.cross_attention_residual = PreNorm(d_model, blocks.dropout)
        self.feed_forward = FeedForward(d_model, blocks.d_ff)
        self.feed_forward_residual = PreNorm(d_model, blocks.dropout)

    def forward(
        self, y: Tensor, state: Tensor, source: Source, need_weights: bool
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Map y (B, T, D) to (B, T, D), the next state (B, D), and the weights (B, H, T, S) if asked for."""
        z, state = self.recurrence(self.recurrence_residual.enter(y), state)
        y = self.recurrence_residual.leave(y, z.to(y.dtype))
        z, weights = self.cross_attention(self.cross_attention_residual.enter(y), *source, need_weights)
        y = self.cross_attention_residual.leave(y, z)
        z = self.feed_forward(self.feed_forward_residual.enter(y))
        return self.feed_forward_residual.leave(y, z), state, weights


class BlockDecoder(Decoder):
    """A stack of blocks, as wide as the embeddings.

    Context: a ``Source`` of a sentence for each layer. Carry: a state (B, D) for each layer, zeros at first, however
    long the target.

    Args:
        d_embedding: D.
        memory: what the encoder hands over.
        num_layers: blocks.
        new_recurrence: makes their recurrences.
        blocks: what surrounds them.

    Raises:
        UserError: a width that heads or directions cannot share.
    """

    def __init__(
        self,
        d_embedding: int,
        memory: MemoryShape,
        num_layers: int,
        new_recurrence: NewRecurrence,
        *,
        blocks: Blocks = Blocks(),
    ) -> None:
        super().__init__()
        blocks.check(d_embedding, num_layers)
        self.dropout = Dropout(blocks.dropout)
        self.layers: Iterable[DecoderBlock] = nn.ModuleList(  # type: ignore[assignment]
            DecoderBlock(new_recurrence(d_embedding, False), memory.d_states, blocks) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(d_embedding)
        self.d_out = d_embedding
        initialise(self)

    def start(self, memory: Memory) -> State:
        bias = padding_bias(memory.padding, memory.states.dtype)
        context = [Source(layer.cross_attention.project(memory.states, memory.values), bias) for layer in self.layers]
        return State(OfSentence(context), [layer.recurrence.zeros(memory.states) for layer in self.layers])

    def forward(self, y: Tensor, state: State, need_weights: bool = False) -> DecoderOutput:
        y = self.dropout(y)
        carry, attention = [], []
        for layer, source, past in zip(self.layers, state.context.parts, state.carry, strict=True):
            y, past, weights = layer(y, past, source, need_weights)
            carry.append(past)
            attention.append(weights)
        weights = torch.stack(attention, 1) if need_weights else None
        return DecoderOutput(self.norm(y), State(state.context, carry), weights)


def initialise(part: nn.Module) -> None:
    """Products as in a Transformer; then what a recurrence resets itself."""
    initialise_products(part)
    for module in part.modules():
        if isinstance(module, ElementwiseRecurrence):
            module.reset_parameters()
