"""Recurrent encoder-decoders with one fixed context vector and no attention: RNN, LSTM and GRU."""

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from s2s_lightning.errors import UserError, check_at_least
from s2s_lightning.model import Decoder, DecoderOutput, Encoder, Memory, MemoryShape, State, Tie, assemble
from s2s_lightning.nn.bridge import Bridge, bridge
from s2s_lightning.nn.dropout import Dropout
from s2s_lightning.nn.recurrence import Cell, Recurrence
from s2s_lightning.training.module import Seq2SeqModule

Direction = Literal["forward", "backward", "both"]
"""How a source is read: "backward" is Sutskever's reversed source, "both" a bidirectional stack."""

Reset = Literal["after", "before"]
"""Whether a GRU's reset gate acts after the matrix product of the state or before it."""


class RecurrentEncoder(Encoder):
    """A stack of recurrent layers; its summary is their last state, h of each layer and then c of each for an LSTM.

    Args:
        d_embedding: width E of the source embedding.
        cell: "rnn", "gru", "gru_reset_before" or "lstm".
        d_model: width D of the states, both directions together.
        num_layers: layers.
        direction: how the source is read; the states stand at the positions of the source in each case.
        dropout: probability, on the embeddings and between the layers.
        recurrent_dropout: probability, on h from step to step, one mask for all steps of a source.

    Raises:
        UserError: two directions have to share an odd d_model.
    """

    def __init__(
        self,
        d_embedding: int,
        cell: Cell = "gru",
        d_model: int = 256,
        num_layers: int = 1,
        *,
        direction: Direction = "both",
        dropout: float = 0.2,
        recurrent_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_at_least(1, d_embedding=d_embedding, d_model=d_model)
        both = direction == "both"
        if both and d_model % 2:
            raise UserError(f"d_model={d_model} cannot be halved between two directions: make it even")
        self.recurrence = Recurrence(
            cell,
            d_embedding,
            d_model,
            num_layers,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            bidirectional=both,
        )
        self.reverse = direction == "backward"
        self.dropout = Dropout(dropout)
        self.shape = MemoryShape(d_model, self.recurrence.state_shape)

    def forward(self, x: Tensor, padding: Tensor) -> Memory:
        x = self.dropout(x)
        if self.reverse:
            x = reverse_rows(x, padding)
        states, summary = self.recurrence.read(x, padding)
        if self.reverse:
            states = reverse_rows(states, padding)
        return Memory(states, states, padding, summary)


def reverse_rows(x: Tensor, padding: Tensor) -> Tensor:
    """The real part of each row back to front, its padding where it was: x (B, S, D), padding (B, S)."""
    lengths = (~padding).sum(1, keepdim=True)
    position = torch.arange(x.shape[1], device=x.device)
    source = torch.where(padding, position, lengths - 1 - position)
    return x.gather(1, source.unsqueeze(-1).expand_as(x))


class FixedContextDecoder(Decoder):
    """Starts from the source's summary and sees nothing else of it (Sutskever et al., 2014, arXiv:1409.3215).

    Args:
        d_embedding: width E of the target embedding.
        memory: what the encoder hands over; its summary is read alone.
        cell: "rnn", "gru", "gru_reset_before" or "lstm".
        d_model: width H of the layers.
        num_layers: layers.
        dropout: probability, on the embeddings, between the layers and on the output.
        recurrent_dropout: probability, on h from step to step, one mask for all steps of a target.
    """

    def __init__(
        self,
        d_embedding: int,
        memory: MemoryShape,
        cell: Cell = "gru",
        d_model: int = 256,
        num_layers: int = 1,
        *,
        dropout: float = 0.2,
        recurrent_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.recurrence = Recurrence(
            cell, d_embedding, d_model, num_layers, dropout=dropout, recurrent_dropout=recurrent_dropout
        )
        self.bridge = bridge(memory.summary, self.recurrence.state_shape)
        self.dropout = Dropout(dropout)
        self.d_out = d_model

    def start(self, memory: Memory) -> State:
        return State(self.recurrence.draw_masks(memory.summary), self.bridge(memory.summary))

    def forward(self, y: Tensor, state: State, need_weights: bool = False) -> DecoderOutput:
        hidden, carry = self.recurrence(self.dropout(y), state.carry, state.context)
        return DecoderOutput(self.dropout(hidden), State(state.context, carry))


class FedContextDecoder(FixedContextDecoder):
    """Reads the context vector again at every step (Cho et al., 2014, 2.2, arXiv:1406.1078).

    c = tanh(V summary) enters each step beside the embedding, and is the first state: as it is with one layer,
    otherwise by tanh(V' c). The paper's readout, which sees c and the embedding once more, is left out.

    Args:
        d_embedding: width E of the target embedding.
        memory: what the encoder hands over; its summary is read alone.
        cell: "rnn", "gru", "gru_reset_before" or "lstm".
        d_model: width H of the layers, and of c.
        num_layers: layers.
        dropout: probability, on the embeddings and c, between the layers and on the output.
        recurrent_dropout: probability, on h from step to step, one mask for all steps of a target.
    """

    def __init__(
        self,
        d_embedding: int,
        memory: MemoryShape,
        cell: Cell = "gru",
        d_model: int = 256,
        num_layers: int = 1,
        *,
        dropout: float = 0.2,
        recurrent_dropout: float = 0.0,
    ) -> None:
        context = MemoryShape(memory.d_states, (1, d_model))
        super().__init__(
            d_embedding + d_model,
            context,
            cell,
            d_model,
            num_layers,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
        )
        self.context = Bridge(memory.summary, context.summary)

    def start(self, memory: Memory) -> State:
        context = self.context(memory.summary)  # (B, 1, H)
        return State((context, self.recurrence.draw_masks(context)), self.bridge(context))

    def forward(self, y: Tensor, state: State, need_weights: bool = False) -> DecoderOutput:
        context, masks = state.context
        fed = context.expand(-1, y.shape[1], -1)
        output = super().forward(torch.cat([y, fed], -1), State(masks, state.carry))
        return output._replace(state=State(state.context, output.state.carry))


class _FixedContext(Seq2SeqModule):
    """An encoder, one fixed vector, a decoder: what RNN, LSTM and GRU share.

    Initialisation: embeddings N(0, 1/E), input matrices Xavier, recurrent ones orthogonal, biases 0 but for an LSTM's
    forget gate, which starts at 1.

    Args:
        src_vocab_size: symbols of the source vocabulary; the command line fills it in.
        tgt_vocab_size: symbols of the target vocabulary; null: one vocabulary for both sides.
        d_embedding: width of the embeddings.
        d_model: width of the hidden states; a bidirectional encoder has half of it in each direction.
        num_layers: layers of the encoder, and of the decoder.
        direction: how the source is read: "forward", "backward" (the reversed source of Sutskever et al., 2014, 3.3)
            or "both".
        dropout: probability, on embeddings, between layers and on the decoder's output (Zaremba et al., 2014,
            arXiv:1409.2329).
        recurrent_dropout: probability, on h from step to step, the same entries at all steps of a sequence (Gal &
            Ghahramani, 2016, arXiv:1512.05287); training then takes an own loop instead of torch's layers.
        tie_embeddings: what shares one matrix: "all", "readout" or "none"; the first two need d_embedding = d_model.
    """

    cell: Cell
    decoder: ClassVar[type[FixedContextDecoder]] = FixedContextDecoder

    def __init__(
        self,
        src_vocab_size: int,
        tgt_vocab_size: int | None = None,
        *,
        d_embedding: int = 256,
        d_model: int = 256,
        num_layers: int = 2,
        direction: Direction = "forward",
        dropout: float = 0.2,
        recurrent_dropout: float = 0.0,
        tie_embeddings: Tie = "none",
    ) -> None:
        rates = {"dropout": dropout, "recurrent_dropout": recurrent_dropout}
        encoder = RecurrentEncoder(d_embedding, self.cell, d_model, num_layers, direction=direction, **rates)
        decoder = self.decoder(d_embedding, encoder.shape, self.cell, d_model, num_layers, **rates)
        super().__init__(
            assemble(
                encoder,
                decoder,
                src_vocab_size=src_vocab_size,
                tgt_vocab_size=tgt_vocab_size,
                d_embedding=d_embedding,
                tie_embeddings=tie_embeddings,
            )
        )


class RNN(_FixedContext):
    """Elman's network (1990, doi:10.1207/s15516709cog1402_1) as an encoder-decoder: h_t = tanh(W x_t + U h_{t-1} + b).

    The last states of the encoder start the decoder (Sutskever et al., 2014, arXiv:1409.3215).

    Card:
        year: 1990
        idea: a state that reads the source word by word, its last value starting the decoder.
        equation: `h_t = tanh(W x_t + U h_{t-1} + b)`
        training: O(T D^2), T steps in a row
        decoding: O(D^2), constant memory
        use: as the baseline that shows vanishing gradients; short sequences.
        paper: Elman, 1990, doi:10.1207/s15516709cog1402_1; as encoder-decoder Sutskever et al., 2014, arXiv:1409.3215
        embeddings: E*(U+V) + V*(D+1)
        encoder: D*(E+D+2)
        decoder: D*(E+D+2)
    """

    cell = "rnn"


class LSTM(_FixedContext):
    """LSTM encoder-decoder (Sutskever et al., 2014, arXiv:1409.3215).

    The last h and c of each layer of the encoder start the decoder.

    Card:
        year: 2014
        idea: gates guard a cell that carries the source far; reversing the source brings the first words near.
        equation: `c_t = f * c_{t-1} + i * g`, `h_t = o * tanh(c_t)`
        training: O(T D^2), T steps in a row
        decoding: O(D^2), constant memory
        use: as the baseline without attention; what one vector can hold.
        paper: Sutskever et al., 2014, arXiv:1409.3215
        embeddings: E*(U+V) + V*(D+1)
        encoder: 4*D*(E+D+2)
        decoder: 4*D*(E+D+2)
    """

    cell = "lstm"


class GRU(_FixedContext):
    """GRU encoder-decoder whose fixed vector enters every step of the decoder (Cho et al., 2014, arXiv:1406.1078).

    The reset gate acts after the matrix product, as in torch and cuDNN, n = tanh(W x + r * (U h)); ``reset: before``
    computes the paper's n = tanh(W x + U (r * h)), by a loop of ours.

    Card:
        year: 2014
        idea: two gates instead of three, and the source's vector is read again at each step.
        equation: `h_t = (1 - z) * n + z * h_{t-1}`, `n = tanh(W x_t + r * U h_{t-1})`
        training: O(T D^2), T steps in a row
        decoding: O(D^2), constant memory
        use: as the lighter baseline without attention.
        paper: Cho et al., 2014, arXiv:1406.1078
        embeddings: E*(U+V) + V*(D+1)
        encoder: 3*D*(E+D+2)
        decoder: 3*D*(E+2*D+2) + D*(D+1)

    Args:
        src_vocab_size: symbols of the source vocabulary; the command line fills it in.
        tgt_vocab_size: symbols of the target vocabulary; null: one vocabulary for both sides.
        reset: where the reset gate acts, in encoder and decoder: "after" the matrix product (torch's and cuDNN's GRU,
            fast) or "before" it (the paper's, with two products in a row at each step).
        settings: as of the RNN and the LSTM.
    """

    decoder = FedContextDecoder

    def __init__(
        self, src_vocab_size: int, tgt_vocab_size: int | None = None, *, reset: Reset = "after", **settings: Any
    ) -> None:
        self.cell = "gru" if reset == "after" else "gru_reset_before"
        super().__init__(src_vocab_size, tgt_vocab_size, **settings)
