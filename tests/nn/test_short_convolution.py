"""The shifted products against ``conv1d``, and what is carried from piece to piece."""

import pytest
import torch
from torch.nn import functional as F

from s2s_lightning.nn.short_convolution import ShortConvolution


@pytest.mark.parametrize("kernel_size", [1, 2, 4])
def test_it_computes_what_conv1d_computes(kernel_size: int) -> None:
    layer = ShortConvolution(5, kernel_size).double()
    x = torch.randn(2, 7, 5, dtype=torch.float64)
    y, _ = layer(x, layer.start(2, x))
    padded = F.pad(x.transpose(1, 2), (kernel_size - 1, 0))
    expected = F.conv1d(padded, layer.weight.t().unsqueeze(1), layer.bias, groups=5).transpose(1, 2)
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cuts", [[1], [2, 5], [1, 2, 3, 4, 5, 6]])
def test_pieces_make_the_whole(cuts: list[int]) -> None:
    layer = ShortConvolution(5, 4).double()
    x = torch.randn(2, 7, 5, dtype=torch.float64)
    past, outputs = layer.start(2, x), []
    for piece in x.tensor_split(cuts, 1):
        y, past = layer(piece, past)
        outputs.append(y)
    torch.testing.assert_close(torch.cat(outputs, 1), layer(x, layer.start(2, x))[0], rtol=0, atol=1e-12)
