"""Recurrences whose products do not wait for time, as plain loops over time with the products outside of them."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.references.networks import Blocks, BothWays, Reference, Sizes, read


class Loop(nn.Module, ABC):
    """From (B, T, D) to (B, T, W): one product, then a step of element-wise operations for each position.

    Args:
        d_model: D.
        width: W.
    """

    products: int

    def __init__(self, d_model: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.linear = nn.Linear(d_model, self.products * width)

    def forward(self, x: Tensor, padding: Tensor | None = None) -> Tensor:
        drives, skip = self.linear(x), x[..., : self.width]
        state, outputs = x.new_zeros(len(x), self.width), []
        for t in range(x.shape[1]):
            y, state = self.step(drives[:, t].chunk(self.products, -1), state, skip[:, t])
            outputs.append(y)
        return torch.stack(outputs, 1)

    @abstractmethod
    def step(self, drives: tuple[Tensor, ...], state: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
        """Output and next state (B, W)."""


class MinGRU(Loop):
    products = 2

    def step(self, drives: tuple[Tensor, ...], state: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
        z = torch.sigmoid(drives[0])
        state = (1 - z) * state + z * drives[1]
        return state, state


class MinLSTM(Loop):
    products = 3

    def step(self, drives: tuple[Tensor, ...], state: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
        f, i = torch.sigmoid(drives[0]), torch.sigmoid(drives[1])
        state = (f * state + i * drives[2]) / (f + i)
        return state, state


class IndRNN(Loop):
    products = 1

    def __init__(self, d_model: int, width: int) -> None:
        super().__init__(d_model, width)
        self.u = nn.Parameter(torch.rand(width))

    def step(self, drives: tuple[Tensor, ...], state: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
        state = torch.relu(drives[0] + self.u * state)
        return state, state


class SRU(Loop):
    products = 3

    def __init__(self, d_model: int, width: int) -> None:
        super().__init__(d_model, width)
        self.v_f, self.v_r = nn.Parameter(torch.rand(width)), nn.Parameter(torch.rand(width))

    def step(self, drives: tuple[Tensor, ...], state: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
        f = torch.sigmoid(drives[1] + self.v_f * state)
        r = torch.sigmoid(drives[2] + self.v_r * state)
        state = f * state + (1 - f) * drives[0]
        return r * state + (1 - r) * skip, state


class TorchLayer(nn.Module):
    """nn.GRU or nn.LSTM in a block; padding is read like the rest."""

    def __init__(self, layer: Callable[..., nn.RNNBase], d_model: int, both_ways: bool) -> None:
        super().__init__()
        width = d_model // 2 if both_ways else d_model
        self.layer = layer(d_model, width, batch_first=True, bidirectional=both_ways)

    def forward(self, x: Tensor, padding: Tensor | None = None) -> Tensor:
        return self.layer(x)[0]


def loops(sizes: Sizes, loop: type[Loop]) -> Blocks:
    """Blocks around plain loops, half of the encoder's channels in either direction."""
    d = sizes.d_model
    encoder = [BothWays(lambda: loop(d, d // 2), add=False) for _ in range(sizes.num_encoder_layers)]
    return Blocks(sizes, encoder, [loop(d, d) for _ in range(sizes.num_decoder_layers)])


def torch_layers(sizes: Sizes, layer: Callable[..., nn.RNNBase]) -> Blocks:
    """The same blocks around a layer of torch's."""
    encoder = [TorchLayer(layer, sizes.d_model, True) for _ in range(sizes.num_encoder_layers)]
    return Blocks(sizes, encoder, [TorchLayer(layer, sizes.d_model, False) for _ in range(sizes.num_decoder_layers)])


class Pooling(nn.Module):
    """QRNN: a convolution over the last k inputs makes z, f and o, a loop pools; c and o (B, T, W)."""

    def __init__(self, d_input: int, width: int, kernel_size: int) -> None:
        super().__init__()
        self.past = kernel_size - 1
        self.convolution = nn.Conv1d(d_input, 3 * width, kernel_size)

    def forward(self, x: Tensor, shift: Tensor | float = 0.0) -> tuple[Tensor, Tensor]:
        products = self.convolution(F.pad(x.transpose(1, 2), (self.past, 0))).transpose(1, 2) + shift
        z, f, o = products.chunk(3, -1)
        z, f, c, cells = torch.tanh(z), torch.sigmoid(f), torch.zeros_like(z[:, 0]), []
        for t in range(x.shape[1]):
            c = f[:, t] * c + (1 - f[:, t]) * z[:, t]
            cells.append(c)
        return torch.stack(cells, 1), torch.sigmoid(o)


class QRNN(Reference):
    """Bidirectional layers, a decoder that adds the encoder's last states, attention in its last layer."""

    def __init__(self, sizes: Sizes) -> None:
        d, k = sizes.d_model, sizes.kernel_size
        super().__init__(sizes, d)
        widths = [sizes.d_embedding, *[d] * (sizes.num_layers - 1)]
        self.ahead = nn.ModuleList(Pooling(width, d // 2, k) for width in widths)
        self.back = nn.ModuleList(Pooling(width, d // 2, k) for width in widths)
        self.decoder = nn.ModuleList(Pooling(width, d, k) for width in widths)
        self.shifts = nn.ModuleList(nn.Linear(d, 3 * d, bias=False) for _ in widths)
        self.output = nn.Linear(2 * d, d, bias=False)

    def forward(self, src: Tensor, padding: Tensor, tgt: Tensor) -> Tensor:
        real = (~padding).unsqueeze(-1)
        x, end, last = self.dropout(self.src(src)) * real, (~padding).sum(1) - 1, []
        for ahead, back in zip(self.ahead, self.back, strict=True):
            (c, o), (c_back, o_back) = ahead(x), back(x.flip(1))
            x = self.dropout(torch.cat([c * o, (c_back * o_back).flip(1)], -1)) * real
            last.append(x[torch.arange(len(x)), end])
        y = self.tgt(tgt)
        for layer, shift, h in zip(self.decoder, self.shifts, last, strict=True):
            c, o = layer(self.dropout(y), shift(h).unsqueeze(1))
            y = c * o
        weights = (c @ x.mT).masked_fill(padding.unsqueeze(1), float("-inf")).softmax(-1)
        return self.readout(self.dropout(o * self.output(torch.cat([weights @ x, c], -1))))


class LateAttention(Reference):
    """torch's layers in the places of QRNN's: bidirectional encoder, decoder, attention behind its last layer."""

    def __init__(self, sizes: Sizes, layers: Callable[..., nn.RNNBase]) -> None:
        e, d, n = sizes.d_embedding, sizes.d_model, sizes.num_layers
        super().__init__(sizes, d)
        options = {"batch_first": True, "dropout": sizes.dropout if n > 1 else 0.0}
        self.encoder = layers(e, d // 2, n, bidirectional=True, **options)
        self.decoder = layers(e, d, n, **options)
        self.output = nn.Linear(2 * d, d, bias=False)

    def forward(self, src: Tensor, padding: Tensor, tgt: Tensor) -> Tensor:
        x, _ = read(self.encoder, self.dropout(self.src(src)), padding)
        h, _ = self.decoder(self.dropout(self.tgt(tgt)))
        weights = (h @ x.mT).masked_fill(padding.unsqueeze(1), float("-inf")).softmax(-1)
        return self.readout(self.dropout(torch.tanh(self.output(torch.cat([weights @ x, h], -1)))))
