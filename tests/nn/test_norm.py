"""RMSNorm with a backward pass of its own, against torch's."""

import pytest
import torch
from torch.nn import functional as F

from s2s_lightning.nn.norm import RMSNorm, rms_norm


def test_its_gradients_are_those_of_the_formula() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(3, 2, 5).double().requires_grad_(), torch.randn(5).double().requires_grad_()
    assert torch.autograd.gradcheck(rms_norm, (x, weight, 0.1))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 0.1)])
def test_values_and_gradients_are_torchs(dtype: torch.dtype, tolerance: float) -> None:
    torch.manual_seed(0)
    norm = RMSNorm(6, 1e-3).to(torch.promote_types(dtype, torch.float32))
    torch.nn.init.normal_(norm.weight)
    x, grad = torch.randn(2, 3, 4, 6).to(dtype), torch.randn(2, 3, 4, 6).to(dtype)
    results = []
    for function in (norm, lambda x: F.rms_norm(x.to(norm.weight.dtype), (6,), norm.weight, 1e-3).to(dtype)):
        own = x.clone().requires_grad_()
        norm.zero_grad()
        y = function(own)
        y.backward(grad)
        results.append((y, own.grad, norm.weight.grad.clone()))
    for ours, reference in zip(*results, strict=True):
        assert ours.dtype == reference.dtype
        torch.testing.assert_close(ours, reference, rtol=tolerance, atol=tolerance)


def test_pure_bfloat16_is_rounded_once() -> None:
    torch.manual_seed(0)
    norm, x = RMSNorm(64).bfloat16(), torch.randn(8, 64).bfloat16()
    expected = F.rms_norm(x.float(), (64,), eps=1e-6).bfloat16()
    assert torch.equal(norm(x), expected)


def test_zeros_are_normed_to_zeros_with_finite_gradients() -> None:
    x = torch.zeros(2, 4, requires_grad=True)
    y = RMSNorm(4)(x)
    y.sum().backward()
    assert torch.equal(y, torch.zeros(2, 4))
    assert x.grad.isfinite().all()


def test_a_gain_in_bfloat16_does_not_make_the_norm_itself_coarse() -> None:
    torch.manual_seed(0)
    x, norm = torch.randn(50, 64).bfloat16().requires_grad_(), RMSNorm(64)
    torch.nn.init.normal_(norm.weight)
    norm.bfloat16()
    y = norm(x)
    y.sum().backward()
    exact = F.rms_norm(x.detach().double(), (64,), norm.weight.detach().double(), norm.eps)
    torch.testing.assert_close(y, exact.bfloat16(), rtol=2**-8, atol=0)
    assert x.grad.dtype == norm.weight.grad.dtype == torch.bfloat16
