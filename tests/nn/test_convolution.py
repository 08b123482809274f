"""The short convolution: torch's ``conv1d``, any split, padding on either side."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from s2s_lightning.nn.convolution import ShortConvolution


def made(kernel_size: int = 4) -> tuple[ShortConvolution, Tensor]:
    torch.manual_seed(0)
    return ShortConvolution(6, kernel_size).double(), torch.randn(3, 9, 6, dtype=torch.float64)


@pytest.mark.parametrize("kernel_size", [1, 2, 4])
def test_it_is_a_causal_conv1d(kernel_size: int) -> None:
    convolution, x = made(kernel_size)
    y, _ = convolution(x, convolution.start(3, x))
    padded = F.pad(x.mT, (kernel_size - 1, 0))
    expected = F.conv1d(padded, convolution.weight.unsqueeze(1), groups=6).mT
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kernel_size", [1, 4])
@pytest.mark.parametrize("cuts", [[1], [2, 4, 5], list(range(1, 9))])
def test_any_split_gives_the_outputs_of_one_call(cuts: list[int], kernel_size: int) -> None:
    convolution, x = made(kernel_size)
    outputs, past = [], convolution.start(3, x)
    for piece in x.tensor_split(cuts, 1):
        y, past = convolution(piece, past)
        outputs.append(y)
    whole, last = convolution(x, convolution.start(3, x))
    torch.testing.assert_close(torch.cat(outputs, 1), whole, rtol=0, atol=1e-12)
    assert torch.equal(past, last)


@pytest.mark.parametrize("in_front", [False, True], ids=["behind", "in_front"])
def test_padding_changes_neither_outputs_nor_what_is_kept(in_front: bool) -> None:
    convolution, x = made()
    padding = torch.arange(9) >= torch.tensor([[9], [2], [1]])
    padding = padding.flip(1) if in_front else padding
    y, past = convolution(x, convolution.start(3, x), padding)
    for row in range(3):
        alone, kept = convolution(x[row : row + 1, ~padding[row]], convolution.start(1, x))
        torch.testing.assert_close(y[row : row + 1, ~padding[row]], alone, rtol=0, atol=1e-12)
        assert torch.equal(past[row : row + 1], kept)
