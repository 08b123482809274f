"""Law 5 of state space duality: chunks against the recurrence, one position after another in float64."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from s2s_lightning.nn.ssd import ssd

ROWS, LENGTH, GROUPS, HEADS, WIDTH, KEYS = 2, 2000, 2, 2, 3, 4


def sequential(
    x: Tensor, log_input: Tensor, log_decay: Tensor, b: Tensor, c: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """The equations."""
    outputs = []
    for t in range(x.shape[1]):
        new = torch.einsum("bgn,bgr,bgrp->bgnrp", b[:, t], log_input[:, t].exp(), x[:, t])
        state = log_decay[:, t].exp()[:, :, None, :, None] * state + new
        outputs.append(torch.einsum("bgnrp,bgn->bgrp", state, c[:, t]))
    return torch.stack(outputs, 1), state


def inputs(length: int = LENGTH, strength: float = 1.0) -> list[Tensor]:
    """Random ones in float64, a state to go on from, a tenth of the positions padding."""
    torch.manual_seed(0)
    heads = ROWS, length, GROUPS, HEADS
    padding = torch.rand(ROWS, length, 1, 1) < 0.1
    x = torch.randn(*heads, WIDTH).double()
    log_input = torch.randn(heads).double().masked_fill(padding, -torch.inf)
    log_decay = -F.softplus(strength * torch.randn(heads).double()).masked_fill(padding, 0)
    b, c = torch.randn(2, ROWS, length, GROUPS, KEYS).double()
    return [x, log_input, log_decay, b, c, torch.randn(ROWS, GROUPS, KEYS, HEADS, WIDTH).double()]


def with_gradients(outputs: Sequence[Tensor], leaves: Sequence[Tensor]) -> list[Tensor]:
    """The outputs, and the gradients of a fixed random function of them."""
    generator = torch.Generator().manual_seed(1)
    seeds = [torch.randn(y.shape, generator=generator).to(y) for y in outputs]
    return [*outputs, *torch.autograd.grad(list(outputs), list(leaves), seeds)]


@pytest.fixture(scope="module", params=[1.0, 100.0], ids=["mild", "strong"])
def case(request: pytest.FixtureRequest) -> tuple[list[Tensor], list[Tensor]]:
    """Inputs with mild or strong decays, and what the equations make of them."""
    leaves = [part.requires_grad_() for part in inputs(strength=request.param)]
    return leaves, with_gradients(sequential(*leaves), leaves)


@pytest.mark.parametrize("chunk_size", [7, 32, 64])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-8), (torch.float32, 1e-4)])
def test_chunks_compute_the_recurrence(
    case: tuple[list[Tensor], list[Tensor]], chunk_size: int, dtype: torch.dtype, tolerance: float
) -> None:
    leaves, expected = case
    leaves = [part.detach().to(dtype).requires_grad_() for part in leaves]
    found = with_gradients(ssd(*leaves, chunk_size=chunk_size), leaves)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=0, atol=tolerance)


@pytest.mark.parametrize("cuts", [[1], [5, 6], list(range(1, 40))])
def test_pieces_with_a_carried_state_make_the_whole(cuts: list[int]) -> None:
    *sequences, state = inputs(length=40)
    whole, last = ssd(*sequences, state, chunk_size=8)
    outputs = []
    for piece in zip(*(part.tensor_split(cuts, 1) for part in sequences), strict=True):
        y, state = ssd(*piece, state, chunk_size=8)
        outputs.append(y)
    torch.testing.assert_close(torch.cat(outputs, 1), whole, rtol=0, atol=1e-12)
    torch.testing.assert_close(state, last, rtol=0, atol=1e-12)


@pytest.mark.parametrize("length", [1, 70])
@pytest.mark.parametrize("log_decay", [0.0, -1e4, "mixed"])
def test_saturated_decays_give_finite_values_and_gradients(length: int, log_decay: float | str) -> None:
    leaves = [part.float() for part in inputs(length)]
    leaves[2] = -1e4 * (torch.rand_like(leaves[2]) > 0.5) if log_decay == "mixed" else leaves[2] * 0 + log_decay
    leaves = [part.requires_grad_() for part in leaves]
    assert all(part.isfinite().all() for part in with_gradients(ssd(*leaves), leaves))


def test_autocast_does_not_reach_the_recurrence() -> None:
    leaves = [part.float() for part in inputs(length=40)]
    with torch.autocast("cpu", torch.bfloat16):
        y, state = ssd(*leaves)
    exact, last = ssd(*leaves)
    assert torch.equal(y, exact)
    assert torch.equal(state, last)
