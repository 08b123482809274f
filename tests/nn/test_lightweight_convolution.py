"""The product with a band matrix against ``conv1d`` and against a loop over positions in float64."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from s2s_lightning.nn import lightweight_convolution
from s2s_lightning.nn.lightweight_convolution import (
    CausalConvolution,
    CentredConvolution,
    DynamicKernels,
    LightweightKernels,
    band,
    convolve,
)


def looped(inputs: Tensor, kernels: Tensor) -> Tensor:
    """The sum written out: channel c has the kernel of head c * H // D."""
    rows, width, d_model = inputs.shape
    heads, k = kernels.shape[1], kernels.shape[3]
    y = torch.zeros(rows, width - k + 1, d_model, dtype=inputs.dtype)
    for t in range(y.shape[1]):
        for c in range(d_model):
            for j in range(k):
                y[:, t, c] += kernels[:, c * heads // d_model, t, j] * inputs[:, t + j, c]
    return y


def depthwise(inputs: Tensor, kernels: Tensor) -> Tensor:
    """The convolution of torch, a kernel (1, H, 1, k) copied for each channel of its head."""
    d_model = inputs.shape[-1]
    weight = kernels[0].repeat_interleave(d_model // kernels.shape[1], 0)  # (D, 1, k)
    return F.conv1d(inputs.mT, weight, groups=d_model).mT


@pytest.mark.parametrize("chunk", [None, 4])
@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("length", [1, 8, 11])
def test_one_kernel_for_all_positions_makes_a_depthwise_convolution(
    length: int, k: int, chunk: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten(chunk, monkeypatch)
    inputs = torch.randn(3, length + k - 1, 6, dtype=torch.float64)
    kernels = torch.randn(1, 2, 1, k, dtype=torch.float64)
    torch.testing.assert_close(convolve(inputs, kernels), depthwise(inputs, kernels), rtol=0, atol=1e-12)


@pytest.mark.parametrize("chunk", [None, 4])
@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("length", [1, 8, 11])
def test_kernels_of_their_own_act_at_each_position(
    length: int, k: int, chunk: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten(chunk, monkeypatch)
    inputs = torch.randn(3, length + k - 1, 6, dtype=torch.float64)
    kernels = torch.randn(3, 2, length, k, dtype=torch.float64)
    torch.testing.assert_close(convolve(inputs, kernels), looped(inputs, kernels), rtol=0, atol=1e-12)


def shorten(chunk: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks so small that a few positions make several."""
    if chunk:
        monkeypatch.setattr(lightweight_convolution, "WHOLE", chunk)
        monkeypatch.setattr(lightweight_convolution, "CHUNK", chunk)


def test_a_band_holds_each_kernel_once_from_its_own_column_on() -> None:
    matrix = band(torch.tensor([[[[1, 2, 3], [4, 5, 6]]]]))
    assert matrix[0, 0].tolist() == [[1, 2, 3, 0], [0, 4, 5, 6]]


def test_chunks_have_the_gradients_of_one_product() -> None:
    inputs = torch.randn(2, 200 + 6, 4, dtype=torch.float64, requires_grad=True)
    shared = torch.randn(1, 2, 1, 7, dtype=torch.float64, requires_grad=True)
    own = torch.randn(2, 2, 200, 7, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 200, 4, dtype=torch.float64)
    for kernels in (shared, own):
        copied = kernels.expand(2, -1, 200, -1)
        windows = inputs.unfold(1, 7, 1).view(2, 200, 2, 2, 7)
        unfolded = torch.einsum("bthdk,bhtk->bthd", windows, copied).flatten(2)
        expected = torch.autograd.grad((unfolded * weight).sum(), (inputs, kernels))
        found = torch.autograd.grad((convolve(inputs, kernels) * weight).sum(), (inputs, kernels))
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def test_dynamic_kernels_depend_on_their_own_position_alone() -> None:
    kernels = DynamicKernels(6, 2, 3)
    x = torch.randn(2, 5, 6)
    changed = x.clone()
    changed[:, 2] += 1
    differs = (kernels(x) != kernels(changed)).any(-1).any(1)  # (B, T)
    assert differs.tolist() == [[False, False, True, False, False]] * 2
    torch.testing.assert_close(kernels(x).sum(-1), torch.ones(2, 2, 5))


@pytest.mark.parametrize("dynamic", [False, True])
def test_zeros_stand_at_padding_and_beyond_the_ends(dynamic: bool) -> None:
    torch.manual_seed(0)
    convolution = CentredConvolution(6, DynamicKernels(6, 2, 5) if dynamic else LightweightKernels(2, 5), 0.0)
    torch.nn.init.normal_(convolution.input.bias)  # what stands at padding is not zero by itself
    x = torch.randn(1, 7, 6)
    padding = torch.arange(7).unsqueeze(0) >= 4
    short = convolution(x[:, :4], padding[:, :4])
    torch.testing.assert_close(convolution(x, padding)[:, :4], short)


@pytest.mark.parametrize("dynamic", [False, True])
def test_a_causal_convolution_in_pieces_is_that_of_the_whole(dynamic: bool) -> None:
    torch.manual_seed(0)
    kernels = DynamicKernels(6, 2, 4) if dynamic else LightweightKernels(2, 4)
    convolution = CausalConvolution(6, kernels, 0.0).double()
    x, past = torch.randn(2, 9, 6, dtype=torch.float64), torch.zeros(2, 3, 6, dtype=torch.float64)
    whole, last = convolution(x, past)
    pieces = []
    for piece in x.tensor_split([1, 2, 6], 1):
        y, past = convolution(piece, past)
        pieces.append(y)
    torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=0, atol=1e-12)
    torch.testing.assert_close(past, last, rtol=0, atol=1e-12)


def test_dropout_takes_weights_of_the_kernels_in_training_alone() -> None:
    torch.manual_seed(0)
    convolution = CausalConvolution(6, LightweightKernels(2, 64), 0.25)
    kept = convolution._kernels(torch.randn(1, 1, 6)) / convolution.kernels(torch.randn(1, 1, 6))
    assert set(kept.detach().flatten().mul(3).round().tolist()) == {0.0, 4.0}  # 0 or 1 / (1 - p)
    convolution.eval()
    x, past = torch.randn(1, 3, 6), torch.zeros(1, 63, 6)
    assert torch.equal(convolution(x, past)[0], convolution(x, past)[0])
