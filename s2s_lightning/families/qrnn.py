"""QRNN: convolutions over time make gates and candidates, a scan pools them (Bradbury et al., 2017, arXiv:1611.01576).

Shape letters: B batch, S source, T target, E input, D states, k width of the convolution.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from s2s_lightning.errors import UserError, check_at_least
from s2s_lightning.families.rnn import Direction, reverse_rows
from s2s_lightning.model import Decoder, DecoderOutput, Encoder, Memory, MemoryShape, State, Tie, assemble
from s2s_lightning.nn.alignment import AttentionContext, DotScore, align
from s2s_lightning.nn.dropout import Dropout
from s2s_lightning.nn.eager import eager
from s2s_lightning.nn.elementwise_recurrence import ScanLayer
from s2s_lightning.nn.scan import single
from s2s_lightning.training.module import Seq2SeqModule


class Pooled(NamedTuple):
    """Output of a layer: cells c and output gates o (B, T, D) in the type of its input, and its next state."""

    cells: Tensor
    gates: Tensor
    state: "QRNNState"


class QRNNState(NamedTuple):
    """The last k - 1 inputs (B, k - 1, E), zeros before the first, and the last cell c (B, D)."""

    inputs: Tensor
    cell: Tensor


class QRNNLayer(ScanLayer):
    """Convolutions over the last k inputs, then fo-pooling; the output is h_t = o_t * c_t.

    z = tanh(W_z * x), f = sigmoid(W_f * x), o = sigmoid(W_o * x), c_t = f_t * c_{t-1} + (1 - f_t) * z_t

    Args:
        d_input: E.
        d_model: D.
        kernel_size: k.
        both_ways: the first half of the channels reads forwards and the second backwards.
    """

    def __init__(self, d_input: int, d_model: int, kernel_size: int, *, both_ways: bool = False) -> None:
        super().__init__(d_model, both_ways=both_ways)
        self.past = kernel_size - 1, d_input
        self.directions = 2 if both_ways else 1
        products = 3 * d_model // self.directions
        self.linears = nn.ModuleList(nn.Linear(kernel_size * d_input, products) for _ in range(self.directions))
        for linear in self.linears:
            initialise(linear)

    def start(self, x: Tensor) -> QRNNState:
        """The state before the first input, for x (B, ...)."""
        return QRNNState(x.new_zeros(x.shape[0], *self.past), self.zeros(x))

    @eager
    def forward(
        self, x: Tensor, state: QRNNState, padding: Tensor | None = None, shift: Tensor | float = 0.0
    ) -> Pooled:
        """Run the layer on x (B, T, E), zero at padding; ``shift`` (B, 1, 3, D) is added to the convolutions of z, f
        and o.
        """
        products, inputs = self.convolve(x, state.inputs)
        z, f, o = (single(products) + shift).unbind(2)
        f = f.sigmoid()
        c, last = self.scan(f, (1 - f) * z.tanh(), state.cell, padding)
        return Pooled(c.to(x.dtype), o.sigmoid().to(x.dtype), QRNNState(inputs, last))

    def convolve(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Products (B, T, 3, D) for z, f and o, and the last k - 1 of the inputs read forwards."""
        products, length = [], x.shape[1]
        inputs = torch.cat([past, x], 1)
        for linear, read in zip(self.linears, (inputs, torch.cat([past, x.flip(1)], 1)), strict=False):
            windows = torch.cat([read[:, i : i + length] for i in range(self.past[0] + 1)], -1)
            products.append(linear(windows).unflatten(-1, (3, -1)))
        products[1:] = [backwards.flip(1) for backwards in products[1:]]
        return torch.cat(products, -1), inputs[:, length:]


class QRNNEncoder(Encoder):
    """A stack of layers; its summary is the last h of each.

    Args:
        d_embedding: width E of the source embedding.
        d_model: width D of the states, both directions together.
        num_layers: layers.
        kernel_size: k, inputs that a convolution sees.
        direction: how the source is read; the states stand at the positions of the source in each case.
        dropout: on the embeddings and on the output of each layer.

    Raises:
        UserError: two directions have to share an odd d_model.
    """

    def __init__(
        self,
        d_embedding: int,
        d_model: int = 256,
        num_layers: int = 2,
        *,
        kernel_size: int = 2,
        direction: Direction = "both",
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        check_at_least(1, d_embedding=d_embedding, d_model=d_model, num_layers=num_layers, kernel_size=kernel_size)
        both = direction == "both"
        if both and d_model % 2:
            raise UserError(f"d_model={d_model} cannot be halved between two directions: make it even")
        widths = [d_embedding, *[d_model] * (num_layers - 1)]
        self.layers: Iterable[QRNNLayer] = nn.ModuleList(  # type: ignore[assignment]
            QRNNLayer(width, d_model, kernel_size, both_ways=both) for width in widths
        )
        self.reverse = direction == "backward"
        self.dropout = Dropout(dropout)
        self.shape = MemoryShape(d_model, (num_layers, d_model))

    def forward(self, x: Tensor, padding: Tensor) -> Memory:
        if self.reverse:
            x = reverse_rows(x, padding)
        gone = padding.unsqueeze(-1)
        h, summary = self.dropout(x).masked_fill(gone, 0), []
        for layer in self.layers:
            cells, gates, _ = layer(h, layer.start(h), padding)
            h = self.dropout(gates * cells).masked_fill(gone, 0)
            summary.append(last_states(h, padding, layer.both_ways))
        if self.reverse:
            h = reverse_rows(h, padding)
        return Memory(h, h, padding, torch.stack(summary, 1))


def last_states(h: Tensor, padding: Tensor, both_ways: bool) -> Tensor:
    """The last real h (B, D) of h (B, S, D), or in the half that reads backwards the first."""
    end = (~padding).sum(1) - 1
    last = h.take_along_dim(end[:, None, None], 1).squeeze(1)
    return torch.cat([last.chunk(2, -1)[0], h[:, 0].chunk(2, -1)[1]], -1) if both_ways else last


class QRNNContext(NamedTuple):
    """The source: what attention needs, and of each layer V h~ (B, 1, 3, D) of the encoder's last h~."""

    attention: AttentionContext
    shifts: list[Tensor]


class QRNNDecoder(Decoder):
    """A stack of layers that see the encoder's last states in every gate, and attention in the last.

    The convolutions of layer l add V h~, where h~ is the last state of the encoder's layer l, or of its last layer if
    it has fewer. In the last layer, with source states s: a_t = softmax(c_t . s), k_t = sum_s a_ts s and
    h_t = o_t * (W_k k_t + W_c c_t). No step waits for the attention of another.

    Args:
        d_embedding: width E of the target embedding.
        memory: what the encoder hands over, with states of width D.
        d_model: width D.
        num_layers: layers.
        kernel_size: k, inputs that a convolution sees.
        dropout: on the embeddings and on the output of each layer.

    Raises:
        UserError: the encoder's states are not of width D.
    """

    def __init__(
        self,
        d_embedding: int,
        memory: MemoryShape,
        d_model: int = 256,
        num_layers: int = 2,
        *,
        kernel_size: int = 2,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        check_at_least(1, d_embedding=d_embedding, d_model=d_model, num_layers=num_layers, kernel_size=kernel_size)
        if memory.d_states != d_model:
            raise UserError(
                f"QRNNDecoder compares its cells with the encoder's states, but {d_model} != {memory.d_states}: "
                "make them equally wide"
            )
        widths = [d_embedding, *[d_model] * (num_layers - 1)]
        self.layers: Iterable[QRNNLayer] = nn.ModuleList(  # type: ignore[assignment]
            QRNNLayer(width, d_model, kernel_size) for width in widths
        )
        self.sources = [min(layer, memory.summary[0] - 1) for layer in range(num_layers)]
        self.shifts = nn.ModuleList(nn.Linear(memory.summary[1], 3 * d_model, bias=False) for _ in widths)
        self.score = DotScore(d_model, memory.d_states)
        self.value = nn.Linear(memory.d_states, d_model, bias=False)
        self.cell = nn.Linear(d_model, d_model, bias=False)
        for linear in self.shifts:
            initialise(linear)
        nn.init.xavier_uniform_(self.value.weight)
        nn.init.xavier_uniform_(self.cell.weight)
        self.dropout = Dropout(dropout)
        self.d_out = d_model

    def start(self, memory: Memory) -> State:
        attention = AttentionContext(self.score.keys(memory.states), self.value(memory.values), memory.padding)
        pairs = zip(self.shifts, self.sources, strict=True)
        shifts = [shift(memory.summary[:, source]).unflatten(-1, (1, 3, -1)) for shift, source in pairs]
        return State(QRNNContext(attention, shifts), [layer.start(memory.states) for layer in self.layers])

    @eager
    def forward(self, y: Tensor, state: State, need_weights: bool = False) -> DecoderOutput:
        context: QRNNContext = state.context
        h, carry = y, []
        for layer, past, shift in zip(self.layers, state.carry, context.shifts, strict=True):
            cells, gates, past = layer(self.dropout(h), past, shift=shift)
            h = gates * cells
            carry.append(past)
        weights = align(self.score(cells, context.attention.keys), context.attention.padding)
        h = self.dropout(gates * (weights @ context.attention.values + self.cell(cells)))
        return DecoderOutput(h, State(context, carry), weights[:, None, None] if need_weights else None)


class QRNN(Seq2SeqModule):
    """QRNN encoder-decoder with attention (Bradbury et al., 2017, arXiv:1611.01576).

    fo-pooling; the paper's zoneout and dense connections are left out. Its decoder attends once, in the last layer.

    Initialisation: embeddings N(0, 1/E), matrices Xavier gate by gate, biases 0.

    Card:
        year: 2017
        idea: convolutions make the gates of all steps at once; all that waits for time is an element-wise pooling.
        equation: `c_t = f_t * c_{t-1} + (1 - f_t) * z_t`, `h_t = o_t * c_t`; `z, f, o` by convolutions
        training: O(T k D^2 + T S D), nothing but an element-wise scan waits for time
        decoding: O(k D^2 + S D), the last k - 1 inputs and a state
        use: an LSTM's inductive bias at the speed of convolutions.
        paper: Bradbury et al., 2017, arXiv:1611.01576
        embeddings: E*(U+V) + V*(D+1)
        encoder: 3*D*(K*E+1) + (R-1)*3*D*(K*D+1)
        decoder: 3*D*(K*E+1) + (R-1)*3*D*(K*D+1) + R*3*D*D + 2*D*D

    Args:
        src_vocab_size: symbols of the source vocabulary; the command line fills it in.
        tgt_vocab_size: symbols of the target vocabulary; null: one vocabulary for both sides.
        d_embedding: width of the embeddings.
        d_model: width of the states; a bidirectional encoder has half of it in each direction.
        num_layers: layers of the encoder, and of the decoder.
        kernel_size: inputs that a convolution sees, in tokens; with 1 the gates see the current one alone.
        direction: how the source is read: "forward", "backward" or "both".
        dropout: on embeddings and on the output of each layer.
        tie_embeddings: what shares one matrix: "all", "readout" or "none"; the first two need d_embedding = d_model.
    """

    def __init__(
        self,
        src_vocab_size: int,
        tgt_vocab_size: int | None = None,
        *,
        d_embedding: int = 256,
        d_model: int = 256,
        num_layers: int = 2,
        kernel_size: int = 2,
        direction: Direction = "both",
        dropout: float = 0.2,
        tie_embeddings: Tie = "none",
    ) -> None:
        encoder = QRNNEncoder(
            d_embedding, d_model, num_layers, kernel_size=kernel_size, direction=direction, dropout=dropout
        )
        decoder = QRNNDecoder(d_embedding, encoder.shape, d_model, num_layers, kernel_size=kernel_size, dropout=dropout)
        super().__init__(assemble(encoder, decoder, src_vocab_size, tgt_vocab_size, d_embedding, tie_embeddings))


def initialise(linear: nn.Module) -> None:
    """Xavier for z, f and o each, biases 0."""
    assert isinstance(linear, nn.Linear)
    for part in linear.weight.detach().chunk(3):
        nn.init.xavier_uniform_(part)
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)
