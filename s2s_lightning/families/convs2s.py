"""ConvS2S: gated convolutions in encoder and decoder, attention in every decoder layer (Gehring et al., 2017).

arXiv:1705.03122. Shape letters: E embedding, k width of the kernel.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from s2s_lightning.errors import UserError, check_at_least
from s2s_lightning.model import (
    Decoder,
    DecoderOutput,
    Encoder,
    Memory,
    MemoryShape,
    State,
    Tie,
    assemble,
    masked_mean,
)
from s2s_lightning.nn.alignment import align
from s2s_lightning.nn.convolution import GatedConvolution
from s2s_lightning.nn.dropout import Dropout
from s2s_lightning.nn.positions import LearnedPositions
from s2s_lightning.training.module import Seq2SeqModule

HALF = math.sqrt(0.5)
"""The sum of two terms times this keeps their variance (3.5)."""

EMBEDDING_STD = 0.1
"""Of tokens and positions at the start (3.5)."""


class ConvS2SEncoder(Encoder):
    """States (B, S, E) of the last layer; values = (states + embeddings) * sqrt(.5).

    Args:
        d_embedding: E.
        d_model: D of the convolutions.
        num_layers: convolutions, each with a residual connection.
        kernel_size: k, odd: a state sees (k - 1) / 2 neighbours on each side, a layer.
        dropout: on embeddings and on the input of each convolution.
        max_positions: positions with a vector of their own.
        gradient_scale: on the gradients that enter the encoder but for those of the embeddings in the values (3.5).

    Raises:
        UserError: kernel_size is even.
    """

    def __init__(
        self,
        d_embedding: int,
        d_model: int = 256,
        num_layers: int = 4,
        *,
        kernel_size: int = 3,
        dropout: float = 0.2,
        max_positions: int = 1024,
        gradient_scale: float = 1.0,
    ) -> None:
        super().__init__()
        check_at_least(1, d_embedding=d_embedding, d_model=d_model, kernel_size=kernel_size)
        if kernel_size % 2 == 0:
            raise UserError(f"kernel_size={kernel_size} has no middle: make it odd")
        self.positions = LearnedPositions(max_positions, d_embedding, std=EMBEDDING_STD)
        self.dropout = Dropout(dropout)
        self.input = nn.Linear(d_embedding, d_model)
        self.convolutions = nn.ModuleList(GatedConvolution(d_model, kernel_size) for _ in range(num_layers))
        self.output = nn.Linear(d_model, d_embedding)
        self.margin = kernel_size // 2
        self.gradient_scale = gradient_scale
        self.shape = MemoryShape(d_embedding, (1, d_embedding))
        initialise(self, dropout)

    def forward(self, x: Tensor, padding: Tensor) -> Memory:
        embedded = self.dropout(self.positions(x, torch.arange(x.shape[1], device=x.device)))
        real = (~padding).unsqueeze(-1).to(x.dtype)
        h = self.input(embedded)
        for convolution in self.convolutions:
            # Zeros at padding, as beyond the ends: otherwise the last real states would depend on the batch's length.
            around = F.pad(self.dropout(h) * real, (0, 0, self.margin, self.margin))
            h = (convolution(around) + h) * HALF
        states = scale_gradient(self.output(h), self.gradient_scale)
        return Memory(states, (states + embedded) * HALF, padding, masked_mean(states, padding))


def scale_gradient(x: Tensor, scale: float) -> Tensor:
    """Leave x, multiply its gradient."""
    if x.requires_grad:
        x.register_hook(lambda gradient: gradient * scale)  # type: ignore[no-untyped-call]
    return x


class ConvS2SDecoderLayer(nn.Module):
    """A causal gated convolution, then attention whose query is the state and the embedded target token (eq. 1, 2)."""

    def __init__(self, d_embedding: int, d_model: int, kernel_size: int, dropout: float) -> None:
        super().__init__()
        self.dropout = Dropout(dropout)
        self.convolution = GatedConvolution(d_model, kernel_size)
        self.query = nn.Linear(d_model, d_embedding)
        self.context = nn.Linear(d_embedding, d_model)

    def forward(self, h: Tensor, embedded: Tensor, past: Tensor, memory: Memory) -> tuple[Tensor, Tensor, Tensor]:
        """Convolve and attend: h (B, T, D) and the k - 1 inputs before it -> (B, T, D), the last k - 1 inputs, weights
        (B, T, S).
        """
        inputs = torch.cat((past, self.dropout(h)), 1)
        y = self.convolution(inputs)
        query = (self.query(y) + embedded) * HALF
        weights = align(query @ memory.states.mT, memory.padding)
        # m positions of equal weight would shrink the variance of their mean by m (3.5).
        length = (~memory.padding).sum(1).to(torch.promote_types(h.dtype, torch.float32))
        context = weights @ memory.values * length.sqrt().to(h.dtype)[:, None, None]
        y = (self.context(context) + y) * HALF
        return (y + h) * HALF, inputs[:, h.shape[1] :], weights


class ConvS2SCarry(NamedTuple):
    """The target so far, as a decoder of convolutions needs it.

    Attributes:
        position: (B,) of the next token.
        inputs: of each layer, the last k - 1 (B, k - 1, D); zeros before the first.
    """

    position: Tensor
    inputs: list[Tensor]


class ConvS2SDecoder(Decoder):
    """A stack of layers. Context: the encoder's memory, as it is.

    Args:
        d_embedding: E of target embeddings and of the output.
        memory: what the encoder hands over; its states must be as wide as the embeddings, which are added to them.
        d_model: D of the convolutions.
        num_layers: convolutions, each with attention and a residual connection.
        kernel_size: k: a state sees itself and k - 1 before it, a layer.
        dropout: on embeddings, on the input of each convolution and on the output.
        max_positions: positions with a vector of their own.

    Raises:
        UserError: the encoder's states are not as wide as the embeddings.
    """

    def __init__(
        self,
        d_embedding: int,
        memory: MemoryShape,
        d_model: int = 256,
        num_layers: int = 3,
        *,
        kernel_size: int = 3,
        dropout: float = 0.2,
        max_positions: int = 1024,
    ) -> None:
        super().__init__()
        if memory.d_states != d_embedding:
            raise UserError(
                f"the encoder's states must be as wide as the embeddings that ConvS2SDecoder adds to its queries, but "
                f"{memory.d_states} != {d_embedding}: make them equal"
            )
        self.positions = LearnedPositions(max_positions, d_embedding, std=EMBEDDING_STD)
        self.dropout = Dropout(dropout)
        self.input = nn.Linear(d_embedding, d_model)
        layers = [ConvS2SDecoderLayer(d_embedding, d_model, kernel_size, dropout) for _ in range(num_layers)]
        self.layers: Iterable[ConvS2SDecoderLayer] = nn.ModuleList(layers)  # type: ignore[assignment]
        self.output = nn.Linear(d_model, d_embedding)
        self.past = kernel_size - 1, d_model
        self.d_out = d_embedding
        initialise(self, dropout)

    def start(self, memory: Memory) -> State:
        rows = len(memory.states)
        position = torch.zeros(rows, dtype=torch.int64, device=memory.states.device)
        return State(memory, ConvS2SCarry(position, [memory.states.new_zeros(rows, *self.past) for _ in self.layers]))

    def forward(self, y: Tensor, state: State, need_weights: bool = False) -> DecoderOutput:
        carry: ConvS2SCarry = state.carry
        position = carry.position.unsqueeze(1) + torch.arange(y.shape[1], device=y.device)
        embedded = self.dropout(self.positions(y, position))
        h = self.input(embedded)
        inputs, attention = [], []
        for layer, past in zip(self.layers, carry.inputs, strict=True):
            h, past, weights = layer(h, embedded, past, state.context)
            inputs.append(past)
            attention.append(weights)
        hidden = self.dropout(self.output(h))
        carry = ConvS2SCarry(carry.position + y.shape[1], inputs)
        weights = torch.stack(attention, 1).unsqueeze(2) if need_weights else None  # (B, layers, 1, T, S)
        return DecoderOutput(hidden, State(state.context, carry), weights)


class ConvS2S(Seq2SeqModule):
    """Convolutions and attention, no recurrence (Gehring et al., 2017, arXiv:1705.03122).

    The paper normalises its weights (Salimans & Kingma, 2016); here they only start with the variances that it derives
    (appendix A), and Adam does without. All layers are equally wide; the paper widens the last ones.

    Card:
        year: 2017
        idea: stacked gated convolutions see the neighbourhood, and every decoder layer attends to the source.
        equation: `h^l = GLU(W [h^{l-1}_{t-k+1}; ...; h^{l-1}_t]) + c_t + h^{l-1}_t`
        training: O(T k D^2 + T S E), all positions at once
        decoding: O(k D^2 + S E), the last k - 1 inputs of each layer
        use: speed in training without attention's quadratic cost within a side.
        paper: Gehring et al., 2017, arXiv:1705.03122
        embeddings: E*(U+V) + V*(E+1)
        encoder: P*E + 2*E*D+E+D + N*2*D*(K*D+1)
        decoder: P*E + 2*E*D+E+D + L*(2*D*(K*D+1) + 2*E*D+E+D)

    Args:
        src_vocab_size: symbols of the source vocabulary; the command line fills it in.
        tgt_vocab_size: symbols of the target vocabulary; null: one vocabulary for both sides.
        d_embedding: width of embeddings, attention and readout.
        d_model: width of the convolutions.
        num_encoder_layers: convolutions of the encoder.
        num_decoder_layers: convolutions of the decoder, each with attention.
        kernel_size: inputs that a convolution sees, an odd number of tokens.
        dropout: on embeddings, on the input of each convolution and on the decoder's output.
        max_positions: tokens with a learned position of their own; later ones share the last.
        tie_embeddings: what shares one matrix: "all" embeddings and the readout (the source's with a joint vocabulary
            alone), the "readout" and the target's, or "none", the paper's way.

    Raises:
        UserError: kernel_size is even.
    """

    def __init__(
        self,
        src_vocab_size: int,
        tgt_vocab_size: int | None = None,
        *,
        d_embedding: int = 256,
        d_model: int = 256,
        num_encoder_layers: int = 4,
        num_decoder_layers: int = 3,
        kernel_size: int = 3,
        dropout: float = 0.2,
        max_positions: int = 1024,
        tie_embeddings: Tie = "none",
    ) -> None:
        check_at_least(1, d_embedding=d_embedding, d_model=d_model, max_positions=max_positions)
        check_at_least(1, num_encoder_layers=num_encoder_layers, num_decoder_layers=num_decoder_layers)
        encoder = ConvS2SEncoder(
            d_embedding,
            d_model,
            num_encoder_layers,
            kernel_size=kernel_size,
            dropout=dropout,
            max_positions=max_positions,
            gradient_scale=1 / num_decoder_layers,
        )
        decoder = ConvS2SDecoder(
            d_embedding,
            encoder.shape,
            d_model,
            num_decoder_layers,
            kernel_size=kernel_size,
            dropout=dropout,
            max_positions=max_positions,
        )
        model = assemble(
            encoder, decoder, src_vocab_size, tgt_vocab_size, d_embedding, tie_embeddings, embedding_std=EMBEDDING_STD
        )
        if tie_embeddings == "none":  # the readout reads what dropout has enlarged, too
            _normal(model.readout.weight, dropout)  # type: ignore[arg-type]
        super().__init__(model)


def initialise(part: "ConvS2SEncoder | ConvS2SDecoder", dropout: float) -> None:
    """Normal matrices that keep the variance of activations, biases zero (Gehring et al., 2017, 3.5, appendix A).

    std = sqrt(1 / n) for n inputs; twice that into a gated linear unit, whose gate halves; times sqrt(1 - dropout)
    where dropout has enlarged the inputs: convolutions, and ``input``, which reads the embeddings.
    """
    for module in part.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=module.in_features**-0.5)
            nn.init.zeros_(module.bias)
    _normal(part.input.weight, dropout)
    for module in part.modules():
        if isinstance(module, GatedConvolution):
            nn.init.normal_(module.linear.weight, std=2 * ((1 - dropout) / module.linear.in_features) ** 0.5)


def _normal(weight: Tensor, dropout: float) -> None:
    """Fill a matrix that reads what dropout has enlarged."""
    nn.init.normal_(weight, std=((1 - dropout) / weight.shape[1]) ** 0.5)
