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
from s2s_lightning.nn import gradient_taps
from s2s_lightning.nn.cells import Step, Vectors, gru_step, lstm_step, reset_before_step, rnn_step
from s2s_lightning.nn.dropout import Dropout, RecurrentDropout
from s2s_lightning.nn.eager import eager

Cell = Literal["rnn", "gru", "gru_reset_before", "lstm"]
"""torch's layers, and the GRU as Cho et al. (2014) have it."""


class Kind(NamedTuple):
    """Properties that tell the cells apart.

    Attributes:
        layers: torch's layers, which hold the parameters.
        step: one step of a layer.
        vectors: how many a layer's state has.
        fused: torch's layers compute this cell.
        one_bias: the two biases are only ever added, so that the input's products can have both.
    """

    layers: Callable[..., nn.RNNBase]
    step: Step
    vectors: int
    fused: bool = True
    one_bias: bool = True


KINDS: dict[Cell, Kind] = {
    "rnn": Kind(nn.RNN, rnn_step, 1),
    "gru": Kind(nn.GRU, gru_step, 1, one_bias=False),
    "gru_reset_before": Kind(nn.GRU, reset_before_step, 1, fused=False),
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
    arXiv:1406.1078) apply it before, n = tanh(W x + U (r * h)): one product a step instead of two in a row. The
    latter is "gru_reset_before", an own loop.

    torch's layers have no recurrent dropout: training with it takes the own loop, too.

    Args:
        cell: "rnn", "gru", "gru_reset_before" or "lstm".
        d_input: width of what is read.
        d_model: width H of the outputs, both directions together.
        num_layers: layers.
        dropout: probability, between the layers.
        recurrent_dropout: probability, on what goes from step to step.
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
        recurrent_dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        super().__init__()
        check_at_least(1, d_input=d_input, d_model=d_model, num_layers=num_layers)
        self.kind = KINDS[cell]
        self.directions = 2 if bidirectional else 1
        self.dropout = Dropout(dropout if num_layers > 1 else 0.0)
        self.recurrent_dropout = RecurrentDropout(recurrent_dropout)
        self.rnn = self.kind.layers(
            d_input,
            d_model // self.directions,
            num_layers,
            batch_first=True,
            dropout=self.dropout.p,
            bidirectional=bidirectional,
        )
        self.state_shape = (self.kind.vectors * num_layers, d_model)
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

    def draw_masks(self, like: Tensor) -> Tensor | None:
        """Draw the masks of recurrent dropout (B, layers, H) for like (B, ...); None when nothing is dropped."""
        return self.recurrent_dropout.draw(like, self.rnn.num_layers, self.state_shape[1])

    @eager
    def forward(self, x: Tensor, state: Tensor, masks: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Go on from a state: x (B, T, E), state (B, N, H) -> outputs (B, T, H) and the state after them."""
        if masks is not None or not self.kind.fused:
            return self.unroll(x, state, [None] * x.shape[1], masks)
        vectors = state.transpose(0, 1).contiguous()  # (N, B, H)
        outputs, last = self.rnn(x, vectors.chunk(2) if self.kind.vectors == 2 else vectors)
        return outputs, self._one_tensor(last)

    @eager
    def read(self, x: Tensor, padding: Tensor) -> tuple[Tensor, Tensor]:
        """Read whole sequences from a state of zeros, each in its own length.

        Args:
            x: (B, S, E).
            padding: (B, S), True at padding, which comes after what is real.

        Returns:
            outputs (B, S, H), 0 at padding, and the last state (B, N, H).
        """
        masks = self.draw_masks(x)
        if masks is not None or not self.kind.fused or gradient_taps.is_watched():
            return self.read_unrolled(x, padding, masks)
        if x.device.type != "cpu":
            return self.read_packed(x, padding)
        if padding.any():
            return self.read_unrolled(x, padding)
        outputs, last = self.rnn(x)  # an LSTM takes .7 of the loop's time
        return outputs, self._one_tensor(last)

    def read_packed(self, x: Tensor, padding: Tensor) -> tuple[Tensor, Tensor]:
        """The reference, and the way of cuDNN. It needs the lengths on the host, one synchronisation a call."""
        lengths = (~padding).sum(1).cpu()
        packed, last = self.rnn(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
        outputs, _ = pad_packed_sequence(packed, batch_first=True, total_length=x.shape[1])
        return outputs, self._one_tensor(last)

    def read_unrolled(self, x: Tensor, padding: Tensor, masks: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The same by an own loop, with the input products of all steps in one, for CPUs.

        There the backward pass of packed sequences clears and adds a tensor as long as the whole batch at each step.
        Forward and backward of a bidirectional LSTM of 2 * 256, about 4,000 tokens in all, take .9 of its time here
        with 9 tokens a row, .8 with 16, .6 with 50.
        """
        some_ended = padding.any(0).tolist()
        ended = [rows.unsqueeze(1) if some else None for rows, some in zip(padding.unbind(1), some_ended, strict=True)]
        outputs, state = self.unroll(x, x.new_zeros(len(x), *self.state_shape), ended, masks)
        return outputs.masked_fill(padding.unsqueeze(-1), 0), state

    def unroll(
        self, x: Tensor, state: Tensor, ended: list[Tensor | None], masks: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Run all layers by an own loop: x (B, T, E), state (B, N, H) -> outputs (B, T, H) and the state after them.

        Args:
            ended: for each position the rows (B, 1) that are padding there and keep their state, None for no row.
            masks: (B, layers, H) of recurrent dropout.
        """
        layers = self.rnn.num_layers
        last: list[Vectors] = []
        for layer in range(layers):
            x = self.dropout(x) if layer else x
            mask = None if masks is None else masks[:, layer]
            x, vectors = self._unroll_layer(layer, x, state[:, layer::layers].unbind(1), ended, mask)
            last.append(vectors)
        return x, torch.stack([vector for kind in zip(*last, strict=True) for vector in kind], 1)

    def _unroll_layer(
        self, layer: int, x: Tensor, vectors: Vectors, ended: list[Tensor | None], mask: Tensor | None
    ) -> tuple[Tensor, Vectors]:
        """Run both directions of a layer side by side: outputs (B, T, H) and the last vectors (B, H)."""
        first = layer * self.directions
        forward, *backward = self.rnn.all_weights[first : first + self.directions]
        if not backward:
            return self._unroll(x, forward, vectors, ended, mask)
        starts, starts_back = zip(*(vector.chunk(2, -1) for vector in vectors), strict=True)
        mask, mask_back = (None, None) if mask is None else mask.chunk(2, -1)
        outputs, vectors = self._unroll(x, forward, starts, ended, mask)
        outputs_back, vectors_back = self._unroll(x.flip(1), backward[0], starts_back, ended[::-1], mask_back)
        outputs = torch.cat([outputs, outputs_back.flip(1)], -1)
        return outputs, tuple(torch.cat(pair, -1) for pair in zip(vectors, vectors_back, strict=True))

    def _unroll(
        self, x: Tensor, weights: Sequence[Tensor], vectors: Vectors, ended: list[Tensor | None], mask: Tensor | None
    ) -> tuple[Tensor, Vectors]:
        """One direction of a layer, from the first position of x (B, T, E) to the last."""
        w, u, bias, recurrent_bias = weights
        u = u.t()
        bias = bias + recurrent_bias if self.kind.one_bias else bias
        trace = gradient_taps.new_trace()
        outputs = []
        for products, keep in zip(linear(x, w, bias).unbind(1), ended, strict=True):
            h = vectors[0] if mask is None else vectors[0] * mask
            stepped = self.kind.step(products, h, u, recurrent_bias, vectors)
            if keep is not None:
                stepped = tuple(torch.where(keep, *pair) for pair in zip(vectors, stepped, strict=True))
            vectors = stepped if trace is None else trace(stepped)
            outputs.append(vectors[0])
        return torch.stack(outputs, 1), vectors

    def _one_tensor(self, last: Any) -> Tensor:
        """The last h or (h, c) of torch's layers, each (layers * directions, B, H / directions), as (B, N, H)."""
        vectors: Tensor = torch.cat(last) if self.kind.vectors == 2 else last
        batch, (count, _) = vectors.shape[1], self.state_shape
        return vectors.view(count, -1, batch, vectors.shape[2]).permute(2, 0, 1, 3).flatten(2)
