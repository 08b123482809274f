"""Stacks of torch's recurrent layers whose state is one tensor.

Shape letters: B batch, S source, T target, E input, H state, N vectors of a state, G gates.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from s2s_lightning.errors import check_at_least
from s2s_lightning.nn.cells import Step, Vectors, gru_step, lstm_step, rnn_step
from s2s_lightning.nn.dropout import Dropout

Cell = Literal["rnn", "gru", "lstm"]


class Kind(NamedTuple):
    """torch's layers, one step of theirs, and how many vectors the state of a layer has."""

    layers: Callable[..., nn.RNNBase]
    step: Step
    vectors: int


KINDS: dict[Cell, Kind] = {
    "rnn": Kind(nn.RNN, rnn_step, 1),
    "gru": Kind(nn.GRU, gru_step, 1),
    "lstm": Kind(nn.LSTM, lstm_step, 2),
}
RESET = {
    "weight_ih": nn.init.xavier_uniform_,
    "weight_hh": nn.init.orthogonal_,
    "bias_ih": nn.init.zeros_,
    "bias_hh": nn.init.zeros_,
}


class Recurrence(nn.Module):
    """Layers of ``nn.RNN`` (tanh), ``nn.GRU`` or ``nn.LSTM``.

    Their state is one tensor (B, N, H): the h of each layer, then the c of each for an LSTM. A bidirectional stack has
    the two directions side by side in H. ``state_shape`` is (N, H), and what a source leaves behind is laid out so too.

    torch's GRU applies the reset gate after the matrix product, n = tanh(W x + r * (U h)), where Cho et al. (2014,
    arXiv:1406.1078) apply it before, n = tanh(W x + U (r * h)): one product a step instead of two in a row.

    Args:
        cell: "rnn", "gru" or "lstm".
        d_input: width of what is read.
        d_model: width H of the outputs, both directions together.
        num_layers: layers.
        dropout: probability, between the layers.
        bidirectional: read both ways, with d_model / 2 each.
    """

    def __init__(
        self,
        cell: Cell,
        d_input: int,
        d_model: int,
        num_layers: int,
        *,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        super().__init__()
        check_at_least(1, num_layers=num_layers)
        layers, self.step, self.vectors = KINDS[cell]
        self.directions = 2 if bidirectional else 1
        self.dropout = Dropout(dropout if num_layers > 1 else 0.0)
        self.rnn = layers(
            d_input,
            d_model // self.directions,
            num_layers,
            batch_first=True,
            dropout=self.dropout.p,
            bidirectional=bidirectional,
        )
        self.state_shape = (self.vectors * num_layers, d_model)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Input matrices Xavier, recurrent ones orthogonal, gate by gate; biases 0, an LSTM's forget gate 1.

        The forget gate's 1: Jozefowicz et al. (2015), http://proceedings.mlr.press/v37/jozefowicz15.html.
        """
        width = self.rnn.hidden_size
        for name, parameter in self.rnn.named_parameters():
            initialise = RESET[name.split("_l")[0]]
            for gate in parameter.detach().chunk(len(parameter) // width):
                initialise(gate)
            if self.rnn.mode == "LSTM" and name.startswith("bias_ih"):
                nn.init.ones_(parameter.detach()[width : 2 * width])

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Go on from a state: x (B, T, E), state (B, N, H) -> outputs (B, T, H) and the state after them."""
        vectors = state.transpose(0, 1).contiguous()  # (N, B, H)
        outputs, last = self.rnn(x, vectors.chunk(2) if self.vectors == 2 else vectors)
        return outputs, self._one_tensor(last)

    def read(self, x: Tensor, padding: Tensor) -> tuple[Tensor, Tensor]:
        """Read whole sequences from a state of zeros, each in its own length.

        Args:
            x: (B, S, E).
            padding: (B, S), True at padding, which comes after what is real.

        Returns:
            outputs (B, S, H), 0 at padding, and the last state (B, N, H).
        """
        return (self.read_unrolled if x.device.type == "cpu" else self.read_packed)(x, padding)

    def read_packed(self, x: Tensor, padding: Tensor) -> tuple[Tensor, Tensor]:
        """The reference, and the way of cuDNN. It needs the lengths on the host, one synchronisation a call."""
        lengths = (~padding).sum(1).cpu()
        packed, last = self.rnn(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
        outputs, _ = pad_packed_sequence(packed, batch_first=True, total_length=x.shape[1])
        return outputs, self._one_tensor(last)

    def read_unrolled(self, x: Tensor, padding: Tensor) -> tuple[Tensor, Tensor]:
        """The same by an own loop, with the input products of all steps in one, for CPUs.

        There the backward pass of packed sequences clears and adds a tensor as long as the whole batch at each step.
        Forward and backward of a bidirectional LSTM of 2 * 256, about 4,000 tokens in all, take .9 of its time here
        with 9 tokens a row, .8 with 16, .6 with 50.
        """
        ended = [rows.unsqueeze(1) if rows.any() else None for rows in padding.unbind(1)]
        last: list[Vectors] = []
        for layer in range(self.rnn.num_layers):
            x = self.dropout(x) if layer else x
            x, vectors = self._unroll_layer(layer, x, ended)
            last.append(vectors)
        state = torch.stack([vector for kind in zip(*last, strict=True) for vector in kind], 1)
        return x.masked_fill(padding.unsqueeze(-1), 0), state

    def _unroll_layer(self, layer: int, x: Tensor, ended: list[Tensor | None]) -> tuple[Tensor, Vectors]:
        """Both directions of a layer side by side: outputs (B, S, H) and the last vectors (B, H)."""
        first = layer * self.directions
        forward, *backward = self.rnn.all_weights[first : first + self.directions]
        outputs, vectors = self._unroll(x, forward, ended)
        for weights in backward:
            outputs_back, vectors_back = self._unroll(x.flip(1), weights, ended[::-1])
            outputs = torch.cat([outputs, outputs_back.flip(1)], -1)
            vectors = tuple(torch.cat(pair, -1) for pair in zip(vectors, vectors_back, strict=True))
        return outputs, vectors

    def _unroll(self, x: Tensor, weights: Sequence[Tensor], ended: list[Tensor | None]) -> tuple[Tensor, Vectors]:
        """One direction of a layer, from the first position of x (B, S, E) to the last.

        ``ended`` has for each position the rows (B, 1) that are padding there and keep their state, None for no row.
        """
        w, u, bias, recurrent_bias = weights
        vectors: Vectors = (x.new_zeros(len(x), self.rnn.hidden_size),) * self.vectors
        outputs = []
        for products, keep in zip(linear(x, w, bias).unbind(1), ended, strict=True):
            stepped = self.step(products, linear(vectors[0], u, recurrent_bias), vectors)
            if keep is not None:
                stepped = tuple(torch.where(keep, *pair) for pair in zip(vectors, stepped, strict=True))
            vectors = stepped
            outputs.append(vectors[0])
        return torch.stack(outputs, 1), vectors

    def _one_tensor(self, last: Any) -> Tensor:
        """The last h or (h, c) of torch's layers, each (layers * directions, B, H / directions), as (B, N, H)."""
        vectors: Tensor = torch.cat(last) if self.vectors == 2 else last
        batch, (count, _) = vectors.shape[1], self.state_shape
        return vectors.view(count, -1, batch, vectors.shape[2]).permute(2, 0, 1, 3).flatten(2)
