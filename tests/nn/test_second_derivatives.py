"""Each autograd function of our own has right second derivatives, or refuses to have any."""

import pytest
import torch
from torch.autograd import gradgradcheck

from s2s_lightning.nn.linear_cross_entropy import linear_cross_entropy
from s2s_lightning.nn.norm import rms_norm
from s2s_lightning.nn.scan import scan


def numbers(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def test_rms_norm() -> None:
    torch.manual_seed(0)
    assert gradgradcheck(lambda x, w: rms_norm(x, w, 1e-6), (numbers(3, 5), numbers(5)))


def test_scan() -> None:
    torch.manual_seed(0)
    assert gradgradcheck(lambda a, b, h: scan(a.sigmoid(), b, h), (numbers(2, 4, 3), numbers(2, 4, 3), numbers(2, 3)))


def test_the_loss_refuses() -> None:
    torch.manual_seed(0)
    hidden, weight, bias = numbers(4, 3), numbers(7, 3), numbers(7)
    loss = linear_cross_entropy(hidden, weight, bias, torch.tensor([4, 5, 6, 4])).sum
    (gradient,) = torch.autograd.grad(loss, hidden, create_graph=True)
    with pytest.raises(RuntimeError, match=r"once_differentiable|does not require grad"):
        torch.autograd.grad(gradient.sum(), hidden)
