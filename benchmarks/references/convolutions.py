"""Convolutional networks of ``conv1d``, and dynamic kernels as band matrices or as windows of an unfolded input."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.references.networks import Blocks, Reference, Sizes

HALF = math.sqrt(0.5)


class ConvS2S(Reference):
    """Gated ``nn.Conv1d`` layers; each of the decoder's attends to the source."""

    def __init__(self, sizes: Sizes) -> None:
        e, d, k = sizes.d_embedding, sizes.d_model, sizes.kernel_size
        super().__init__(sizes, e)
        n, m = sizes.num_encoder_layers, sizes.num_decoder_layers
        self.positions = nn.ModuleList(nn.Embedding(sizes.max_positions, e) for _ in range(2))
        self.inputs = nn.ModuleList(nn.Linear(e, d) for _ in range(2))
        self.outputs = nn.ModuleList(nn.Linear(d, e) for _ in range(2))
        self.encoder = nn.ModuleList(nn.Conv1d(d, 2 * d, k, padding=k // 2) for _ in range(n))
        self.decoder = nn.ModuleList(nn.Conv1d(d, 2 * d, k) for _ in range(m))
        self.queries = nn.ModuleList(nn.Linear(d, e) for _ in range(m))
        self.contexts = nn.ModuleList(nn.Linear(e, d) for _ in range(m))
        self.past = k - 1

    def embed(self, ids: Tensor, side: int) -> Tensor:
        table = (self.src, self.tgt)[side]
        return self.dropout(table(ids) + self.positions[side](torch.arange(ids.shape[1])))

    def forward(self, src: Tensor, padding: Tensor, tgt: Tensor) -> Tensor:
        x = self.embed(src, 0)
        h = self.inputs[0](x)
        for convolution in self.encoder:
            inputs = self.dropout(h).masked_fill(padding.unsqueeze(-1), 0)
            h = (F.glu(convolution(inputs.transpose(1, 2)), 1).transpose(1, 2) + h) * HALF
        keys = self.outputs[0](h)
        values, scale = (keys + x) * HALF, (~padding).sum(1).sqrt()[:, None, None]
        y = self.embed(tgt, 1)
        h = self.inputs[1](y)
        for convolution, query, context in zip(self.decoder, self.queries, self.contexts, strict=True):
            inputs = F.pad(self.dropout(h).transpose(1, 2), (self.past, 0))
            z = F.glu(convolution(inputs), 1).transpose(1, 2)
            scores = torch.bmm((query(z) + y) * HALF, keys.mT).masked_fill(padding.unsqueeze(1), float("-inf"))
            z = (context(torch.bmm(scores.softmax(-1), values) * scale) + z) * HALF
            h = (z + h) * HALF
        return self.readout(self.dropout(self.outputs[1](h)))


class Convolution(nn.Module):
    """Linear to 2 D, GLU, a convolution with one kernel a head, linear.

    Args:
        sizes: of the family.
        kernel_size: k.
        causal: only the past is read.
    """

    def __init__(self, sizes: Sizes, kernel_size: int, *, causal: bool) -> None:
        super().__init__()
        d, self.heads, self.k = sizes.d_model, sizes.num_heads, kernel_size
        self.input, self.output = nn.Linear(d, 2 * d), nn.Linear(d, d)
        self.padded = (self.k - 1, 0) if causal else (self.k // 2, self.k // 2)
        self.dropout = nn.Dropout(sizes.kernel_dropout)

    def forward(self, x: Tensor, padding: Tensor | None) -> Tensor:
        x = F.glu(self.input(x))
        if padding is not None:
            x = x.masked_fill(padding.unsqueeze(-1), 0)
        return self.output(self.convolve(x))

    def convolve(self, x: Tensor) -> Tensor:
        """From (B, T, D) to (B, T, D)."""
        raise NotImplementedError


class Depthwise(Convolution):
    """The same kernels everywhere, by a grouped ``conv1d``."""

    def __init__(self, sizes: Sizes, kernel_size: int, *, causal: bool) -> None:
        super().__init__(sizes, kernel_size, causal=causal)
        self.weight = nn.Parameter(torch.randn(self.heads, 1, kernel_size) * 0.1)

    def convolve(self, x: Tensor) -> Tensor:
        d = x.shape[-1]
        kernels = self.dropout(self.weight.softmax(-1)).repeat_interleave(d // self.heads, 0)
        return F.conv1d(F.pad(x.transpose(1, 2), self.padded), kernels, groups=d).transpose(1, 2)


class Dynamic(Convolution):
    """Kernels (B, T, H, k) predicted from each position."""

    def __init__(self, sizes: Sizes, kernel_size: int, *, causal: bool) -> None:
        super().__init__(sizes, kernel_size, causal=causal)
        self.kernels = nn.Linear(sizes.d_model, self.heads * kernel_size, bias=False)

    def convolve(self, x: Tensor) -> Tensor:
        kernels = self.dropout(self.kernels(x).unflatten(-1, (self.heads, self.k)).softmax(-1))
        return self.weigh(F.pad(x, (0, 0, *self.padded)), kernels)

    def weigh(self, inputs: Tensor, kernels: Tensor) -> Tensor:
        """Inputs (B, T + k - 1, D), kernels (B, T, H, k)."""
        raise NotImplementedError


class DynamicBand(Dynamic):
    """The kernels are copied onto the diagonals of a matrix (T, T + k - 1), which multiplies the inputs."""

    def weigh(self, inputs: Tensor, kernels: Tensor) -> Tensor:
        rows, length, heads, k = kernels.shape
        width = inputs.shape[1]
        matrix = kernels.new_zeros(rows * heads, length, width)
        diagonals = matrix.as_strided((rows * heads, length, k), (length * width, width + 1, 1))
        diagonals.copy_(kernels.transpose(1, 2).reshape(rows * heads, length, k))
        values = inputs.unflatten(-1, (heads, -1)).transpose(1, 2).flatten(0, 1)
        return torch.bmm(matrix, values).unflatten(0, (rows, heads)).transpose(1, 2).flatten(2)


class DynamicUnfold(Dynamic):
    """Each position's window is laid out, and multiplied with its kernel."""

    def weigh(self, inputs: Tensor, kernels: Tensor) -> Tensor:
        windows = inputs.unfold(1, self.k, 1).unflatten(2, (self.heads, -1))  # (B, T, H, D / H, k)
        return torch.einsum("bthdk,bthk->bthd", windows, kernels).flatten(2)


def convolutional(sizes: Sizes, layer: Callable[..., Convolution]) -> Blocks:
    """A Transformer with convolutions for self-attention."""
    encoder = [layer(sizes, k, causal=False) for k in sizes.encoder_kernel_sizes]
    decoder = [layer(sizes, k, causal=True) for k in sizes.decoder_kernel_sizes]
    return Blocks(sizes, encoder, decoder, positions=True)
