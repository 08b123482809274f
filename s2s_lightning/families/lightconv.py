"""LightConv and DynamicConv: a Transformer with convolutions for self-attention (Wu et al., 2019, arXiv:1901.10430)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from s2s_lightning.errors import UserError, check_at_least
from s2s_lightning.families.convs2s import ConvS2SCarry
from s2s_lightning.families.transformer import Context, Layers, Source, initialise
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
from s2s_lightning.nn.attention import CrossAttention, padding_bias
from s2s_lightning.nn.dropout import Dropout
from s2s_lightning.nn.layers import LayerDrop, pass_through
from s2s_lightning.nn.lightweight_convolution import (
    CausalConvolution,
    CentredConvolution,
    DynamicKernels,
    Kernels,
    LightweightKernels,
)
from s2s_lightning.training.module import Seq2SeqModule

KernelKind = Literal["light", "dynamic"]


@dataclass(frozen=True, kw_only=True)
class ConvolutionalLayers(Layers):
    """Options of the layers: those of a Transformer, with convolutions in the place of self-attention.

    Args:
        num_heads: kernels of each convolution, and heads of each attention over the source.
        kernels: one kernel a head ("light"), or kernels predicted from each position ("dynamic").
        kernel_dropout: on the weights of the normalised kernels (DropConnect).
        positions: "sinusoidal" or "learned" vectors added to the embeddings.
    """

    kernels: KernelKind = "light"
    kernel_dropout: float = 0.1
    positions: Literal["sinusoidal", "learned"] = "sinusoidal"

    def check(self, d_model: int, num_layers: int) -> None:
        """Raises UserError for what the layers of a Transformer refuse, and for rotary positions."""
        super().check(d_model, num_layers)
        if str(self.positions) == "rotary":  # a program may pass it
            raise UserError(
                "positions=rotary turns the queries and keys of self-attention, which these layers have not: "
                "set it to sinusoidal or learned"
            )

    def new_kernels(self, d_model: int, kernel_size: int) -> Kernels:
        check_at_least(1, kernel_size=kernel_size)
        if self.kernels == "light":
            return LightweightKernels(self.num_heads, kernel_size)
        return DynamicKernels(d_model, self.num_heads, kernel_size)


class LightConvEncoderLayer(nn.Module):
    """A centred convolution, then a feed-forward layer, each within a residual connection."""

    def __init__(self, d_model: int, kernel_size: int, layers: ConvolutionalLayers) -> None:
        super().__init__()
        kernels = layers.new_kernels(d_model, kernel_size)
        self.convolution = CentredConvolution(d_model, kernels, layers.kernel_dropout)
        self.convolution_residual = layers.new_residual(d_model)
        self.feed_forward = layers.new_feed_forward(d_model)
        self.feed_forward_residual = layers.new_residual(d_model)

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        y = self.convolution(self.convolution_residual.enter(x), padding)
        x = self.convolution_residual.leave(x, y)
        y = self.feed_forward(self.feed_forward_residual.enter(x))
        return self.feed_forward_residual.leave(x, y)


class LightConvEncoder(Encoder):
    """A stack of layers, as wide as the embeddings.

    Args:
        d_embedding: D.
        kernel_sizes: k of each layer, odd: a state sees (k - 1) / 2 neighbours on each side. The authors' code has 3,
            7, 15 and then 31 four times.
        layers: what they are made of.

    Raises:
        UserError: an even kernel, or what ``ConvolutionalLayers`` refuses.
    """

    def __init__(
        self,
        d_embedding: int,
        kernel_sizes: Sequence[int] = (3, 7, 15),
        *,
        layers: ConvolutionalLayers = ConvolutionalLayers(),
    ) -> None:
        super().__init__()
        layers.check(d_embedding, len(kernel_sizes))
        even = [k for k in kernel_sizes if k % 2 == 0]
        if even:
            raise UserError(f"an encoder's kernel of {even[0]} has no middle: make each of its kernel sizes odd")
        self.positions = layers.new_positions(d_embedding)
        self.dropout = Dropout(layers.dropout)
        self.layers = nn.ModuleList(LightConvEncoderLayer(d_embedding, k, layers) for k in kernel_sizes)
        self.layer_drop = LayerDrop(layers.layer_drop, len(kernel_sizes))
        self.norm = layers.last_norm(d_embedding)
        self.shape = MemoryShape(d_embedding, (1, d_embedding))
        initialise(self)

    def forward(self, x: Tensor, padding: Tensor) -> Memory:
        x = self.dropout(self.positions(x, torch.arange(x.shape[1], device=x.device)))
        for layer, passing in zip(self.layers, self.layer_drop(x), strict=True):
            x = pass_through(passing, layer(x, padding), x)
        x = self.norm(x)
        return Memory(x, x, padding, masked_mean(x, padding))


class LightConvDecoderLayer(nn.Module):
    """A causal convolution, attention over the source, a feed-forward layer, each within a residual connection."""

    def __init__(self, d_model: int, d_memory: int, kernel_size: int, layers: ConvolutionalLayers) -> None:
        super().__init__()
        kernels = layers.new_kernels(d_model, kernel_size)
        self.kernel_size = kernel_size
        self.convolution = CausalConvolution(d_model, kernels, layers.kernel_dropout)
        self.convolution_residual = layers.new_residual(d_model)
        self.cross_attention = CrossAttention(d_model, d_memory, layers.num_heads, layers.attention_dropout)
        self.cross_attention_residual = layers.new_residual(d_model)
        self.feed_forward = layers.new_feed_forward(d_model)
        self.feed_forward_residual = layers.new_residual(d_model)

    def forward(
        self, y: Tensor, past: Tensor, source: Source, need_weights: bool
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Map y (B, T, D) to (B, T, D), the past of the next call, and the weights (B, H, T, S) if asked for."""
        z, past = self.convolution(self.convolution_residual.enter(y), past)
        y = self.convolution_residual.leave(y, z)
        z, weights = self.cross_attention(self.cross_attention_residual.enter(y), *source, need_weights)
        y = self.cross_attention_residual.leave(y, z)
        z = self.feed_forward(self.feed_forward_residual.enter(y))
        return self.feed_forward_residual.leave(y, z), past, weights


class LightConvDecoder(Decoder):
    """A stack of layers, as wide as the embeddings.

    Context: as that of a Transformer. Carry: as that of ConvS2S, the last k - 1 gated inputs of each convolution.

    Args:
        d_embedding: D.
        memory: what the encoder hands over.
        kernel_sizes: k of each layer: a state sees itself and k - 1 before it. The authors' code has 3, 7, 15
            and then 31 three times.
        layers: what they are made of.

    Raises:
        UserError: what ``ConvolutionalLayers`` refuses.
    """

    def __init__(
        self,
        d_embedding: int,
        memory: MemoryShape,
        kernel_sizes: Sequence[int] = (3, 7, 15),
        *,
        layers: ConvolutionalLayers = ConvolutionalLayers(),
    ) -> None:
        super().__init__()
        layers.check(d_embedding, len(kernel_sizes))
        self.positions = layers.new_positions(d_embedding)
        self.dropout = Dropout(layers.dropout)
        self.layers: Iterable[LightConvDecoderLayer] = nn.ModuleList(  # type: ignore[assignment]
            LightConvDecoderLayer(d_embedding, memory.d_states, k, layers) for k in kernel_sizes
        )
        self.layer_drop = LayerDrop(layers.layer_drop, len(kernel_sizes))
        self.norm = layers.last_norm(d_embedding)
        self.d_out = d_embedding
        initialise(self)

    def start(self, memory: Memory) -> State:
        states, rows = memory.states, len(memory.states)
        bias = padding_bias(memory.padding, states.dtype)
        sources = [Source(layer.cross_attention.project(states, memory.values), bias) for layer in self.layers]
        position = torch.zeros(rows, dtype=torch.int64, device=states.device)
        inputs = [states.new_zeros(rows, layer.kernel_size - 1, self.d_out) for layer in self.layers]
        return State(Context(OfSentence(sources), self.layer_drop(states)), ConvS2SCarry(position, inputs))

    def forward(self, y: Tensor, state: State, need_weights: bool = False) -> DecoderOutput:
        context: Context = state.context
        carry: ConvS2SCarry = state.carry
        y = self.dropout(self.positions(y, carry.position.unsqueeze(1) + torch.arange(y.shape[1], device=y.device)))
        inputs, attention = [], []
        sources = context.sources.parts
        for layer, source, passing, past in zip(self.layers, sources, context.passing, carry.inputs, strict=True):
            z, past, weights = layer(y, past, source, need_weights)
            y = pass_through(passing, z, y)
            inputs.append(past)
            attention.append(weights)
        carry = ConvS2SCarry(carry.position + y.shape[1], inputs)
        weights = torch.stack(attention, 1) if need_weights else None
        return DecoderOutput(self.norm(y), State(context, carry), weights)


class _ConvolutionalTransformer(Seq2SeqModule):
    """LightConv and DynamicConv without the kind of their kernels.

    Args:
        src_vocab_size: symbols of the source vocabulary; the command line fills it in.
        tgt_vocab_size: symbols of the target vocabulary; null: one vocabulary for both sides.
        d_model: width of embeddings and states, a multiple of 2 * num_heads.
        encoder_kernel_sizes: k of each layer of the encoder, odd; their number is that of the layers.
        decoder_kernel_sizes: k of each layer of the decoder.
        tie_embeddings: what shares one matrix: "all" embeddings and the readout (the source's with a joint vocabulary
            alone), the "readout" and the target's, or "none".
        options: as of ``ConvolutionalLayers``.

    Raises:
        UserError: d_model is no multiple of 2 * num_heads, an encoder's kernel is even, or there is no layer.
    """

    kernels: ClassVar[KernelKind]

    def __init__(
        self,
        src_vocab_size: int,
        tgt_vocab_size: int | None = None,
        *,
        d_model: int = 256,
        encoder_kernel_sizes: Sequence[int] = (3, 7, 15),
        decoder_kernel_sizes: Sequence[int] = (3, 7, 15),
        tie_embeddings: Tie = "all",
        **options: Any,
    ) -> None:
        for side, sizes in (("encoder", encoder_kernel_sizes), ("decoder", decoder_kernel_sizes)):
            if not sizes or min(sizes) < 1:
                raise UserError(f"{side}_kernel_sizes={list(sizes)}: it must name a size of 1 or more for each layer")
        layers = ConvolutionalLayers(kernels=self.kernels, **options)
        encoder = LightConvEncoder(d_model, encoder_kernel_sizes, layers=layers)
        decoder = LightConvDecoder(d_model, encoder.shape, decoder_kernel_sizes, layers=layers)
        super().__init__(
            assemble(encoder, decoder, src_vocab_size, tgt_vocab_size, d_model, tie_embeddings, embedding_std=1.0)
        )


class LightConv(_ConvolutionalTransformer):
    """Depth-wise convolutions whose few kernels are normalised (Wu et al., 2019, arXiv:1901.10430).

    The channels of a head share one kernel. Norms stand before the layers by default, as in our Transformer. The
    authors' code has dropout on the input of each convolution besides.

    Card:
        year: 2019
        idea: a mean of the neighbours with fixed weights, a kernel for each head of channels, is enough within a side.
        equation: `y_t = sum_j softmax(w_h)_j x_{t+j-k+1}` for each head h
        training: O(T k D + T S D + T D^2), all positions at once
        decoding: O((k + S) D + D^2), the last k - 1 inputs of each layer
        use: long sequences; the cost within a side is linear in its length.
        paper: Wu et al., 2019, arXiv:1901.10430
        embeddings: D*(U+V) + V*(D+1)
        encoder: 3*(D*(3*D+3) + 2*D*F+D+F + 4*D) + H*(3+7+15) + 2*D
        decoder: 2*(D*(7*D+7) + 2*D*F+D+F + 6*D) + H*(3+7) + 2*D
    """

    kernels = "light"


class DynamicConv(_ConvolutionalTransformer):
    """LightConv whose kernels each position predicts for itself (Wu et al., 2019, arXiv:1901.10430).

    They depend on the position's own input alone: that is what distinguishes them from attention.

    Card:
        year: 2019
        idea: each position says how to weigh its neighbours, without looking at them.
        equation: `y_t = sum_j softmax(W_h x_t)_j x_{t+j-k+1}` for each head h
        training: O(T k D + T S D + T D^2), all positions at once
        decoding: O((k + S) D + D^2), the last k - 1 inputs of each layer
        use: as LightConv, where a fixed window's weights should follow the content.
        paper: Wu et al., 2019, arXiv:1901.10430
        embeddings: D*(U+V) + V*(D+1)
        encoder: 3*(D*(3*D+3) + 2*D*F+D+F + 4*D) + D*H*(3+7+15) + 2*D
        decoder: 2*(D*(7*D+7) + 2*D*F+D+F + 6*D) + D*H*(3+7) + 2*D
    """

    kernels = "dynamic"
