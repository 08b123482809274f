"""The cheap mask against the statistics of a Bernoulli variable."""

import math

import pytest
import torch

from s2s_lightning.nn.dropout import Dropout, dropout_mask


@pytest.mark.parametrize("p", [0.0, 1e-6, 0.1, 0.3, 0.5, 0.9])
def test_elements_are_dropped_at_the_rate_p_and_the_mean_is_kept(p: float) -> None:
    torch.manual_seed(1)
    n = 400_001  # no multiple of the four elements that a random word serves
    mask = dropout_mask((n,), p, torch.float64)
    dropped = (mask == 0).double().mean().item()
    assert dropped == pytest.approx(p, abs=5 * math.sqrt(p * (1 - p) / n) + 2**-16)
    assert mask.mean().item() == pytest.approx(1, abs=5 * math.sqrt(p / (1 - p) / n))
    assert len(mask.unique()) <= 2


def test_neighbours_and_rows_are_dropped_independently() -> None:
    torch.manual_seed(1)
    kept = (dropout_mask((1000, 400), 0.3, torch.float64) != 0).double() - 0.7
    for lag in range(1, 9):
        assert (kept[:, lag:] * kept[:, :-lag]).mean().abs() < 5 * 0.21 / math.sqrt(kept.numel())
    assert (kept[1:] * kept[:-1]).mean().abs() < 5 * 0.21 / math.sqrt(kept.numel())


def test_gradients_pass_where_values_pass() -> None:
    x = torch.ones(50, 7, requires_grad=True)
    y = Dropout(0.4)(x)
    y.sum().backward()
    assert torch.equal(x.grad, y)


def test_everything_is_dropped_at_one_and_nothing_in_evaluation() -> None:
    x = torch.randn(3, 5)
    assert Dropout(1.0)(x).abs().max() == 0
    assert Dropout(0.5).eval()(x) is x


def test_the_global_seed_decides_the_mask() -> None:
    masks = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        masks.append(dropout_mask((64,), 0.5, torch.float32))
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])
