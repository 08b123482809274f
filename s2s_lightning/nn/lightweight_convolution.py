"""Lightweight and dynamic convolutions over time (Wu et al., 2019, arXiv:1901.10430), on sequences (B, T, D).

Depth-wise: each of H heads of d = D / H neighbouring channels has one kernel of k weights, normalised by a softmax.
Shape letter: N the positions of inputs, T + k - 1.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from s2s_lightning.nn.attention import softmax
from s2s_lightning.nn.dropout import Dropout

WHOLE, CHUNK = 128, 32
"""More than WHOLE outputs are computed CHUNK at a time, so that the cost grows with T and not with T^2; up to there one
product is faster."""


class Kernels(nn.Module, ABC):
    """Source of the kernels of a convolution."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Return kernels (B, H, T, k) for positions x (B, T, D), or (1, H, 1, k) for all of them; each sums to 1."""


class LightweightKernels(Kernels):
    """A parameter: softmax(W_h), the same at all positions.

    Args:
        num_heads: H.
        kernel_size: k.
    """

    def __init__(self, num_heads: int, kernel_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_heads, 1, kernel_size))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        return softmax(self.weight).unsqueeze(0)


class DynamicKernels(Kernels):
    """Predicted from the position itself, softmax(W_h x_t), without regard to its neighbours.

    Args:
        d_model: D.
        num_heads: H.
        kernel_size: k.
    """

    def __init__(self, d_model: int, num_heads: int, kernel_size: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.weight = nn.Parameter(torch.empty(num_heads * kernel_size, d_model))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        scores = F.linear(x, self.weight).view(*x.shape[:2], self.num_heads, -1)
        return softmax(scores).transpose(1, 2)


class _GatedConvolution(nn.Module):
    """Linear to 2 D, gated linear unit, convolution, linear.

    Args:
        d_model: D of input and output.
        kernels: where its kernels come from.
        dropout: on the weights of the normalised kernels (DropConnect).
    """

    def __init__(self, d_model: int, kernels: Kernels, dropout: float) -> None:
        super().__init__()
        self.input = nn.Linear(d_model, 2 * d_model)
        self.kernels = kernels
        self.dropout = Dropout(dropout)
        self.output = nn.Linear(d_model, d_model)

    def _gate(self, x: Tensor) -> Tensor:
        return F.glu(self.input(x), -1)

    def _kernels(self, x: Tensor) -> Tensor:
        kernels: Tensor = self.dropout(self.kernels(x))
        return kernels

    def _mix(self, inputs: Tensor, kernels: Tensor) -> Tensor:
        y: Tensor = self.output(convolve(inputs, kernels))
        return y


class CentredConvolution(_GatedConvolution):
    """Each position reads (k - 1) / 2 neighbours on each side; k is odd."""

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        """Map x (B, T, D) with padding (B, T): zeros stand there, as they do beyond the ends."""
        x = self._gate(x).masked_fill(padding.unsqueeze(-1), 0)
        kernels = self._kernels(x)
        margin = kernels.shape[-1] // 2
        return self._mix(F.pad(x, (0, 0, margin, margin)), kernels)


class CausalConvolution(_GatedConvolution):
    """Each position reads itself and the k - 1 before it, in this call and in earlier ones."""

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Map x (B, T, D) after ``past`` (B, k - 1, D) to (B, T, D) and the past of the next call."""
        x = self._gate(x)
        inputs = torch.cat((past, x), 1)
        return self._mix(inputs, self._kernels(x)), inputs[:, x.shape[1] :]


def convolve(inputs: Tensor, kernels: Tensor) -> Tensor:
    """y_t = sum_j kernel_tj * x_{t+j}, head by head, as a product with a band matrix.

    Training on a CPU (B 64, H 4, D 128 and 256), one kernel of 31 for all positions takes .2 (T 20) and .4 (T 100) of
    the time of ``conv1d``, one of 3 takes .7 and 1.2 to 1.5 of it.

    Args:
        inputs: (B, T + k - 1, D).
        kernels: (B, H, T, k), or (1, H, 1, k) for all positions.

    Returns:
        (B, T, D).
    """
    rows, width, d_model = inputs.shape
    heads, k = kernels.shape[1], kernels.shape[3]
    length = width - k + 1
    if length > WHOLE:
        return _in_chunks(inputs, kernels, length)
    matrix = band(kernels.expand(-1, -1, length, -1))
    values = inputs.reshape(rows, width, heads, d_model // heads)
    return torch.einsum("bhtn,bnhd->bthd", matrix, values).flatten(2)


def _in_chunks(inputs: Tensor, kernels: Tensor, length: int) -> Tensor:
    """``convolve`` with each CHUNK of outputs as a row of its own."""
    rows, _, d_model = inputs.shape
    heads, k = kernels.shape[1], kernels.shape[3]
    missing = -length % CHUNK
    windows = F.pad(inputs, (0, 0, 0, missing)).unfold(1, CHUNK + k - 1, CHUNK)  # (B, chunks, D, CHUNK + k - 1)
    if kernels.shape[2] > 1:
        padded = F.pad(kernels, (0, 0, 0, missing)).reshape(rows, heads, -1, CHUNK, k)
        kernels = padded.transpose(1, 2).flatten(0, 1)
    y = convolve(windows.flatten(0, 1).mT, kernels)
    return y.reshape(rows, -1, d_model)[:, :length]


def band(kernels: Tensor) -> Tensor:
    """(B, H, T, k) -> (B, H, T, T + k - 1): row t holds its kernel from column t on, zeros elsewhere.

    With T zeros behind each kernel, cutting the same numbers into rows one shorter moves each row one further.
    """
    rows, heads, length, k = kernels.shape
    width = length + k - 1
    flat = F.pad(kernels, (0, length)).flatten(2)
    return flat[..., : length * width].view(rows, heads, length, width)
