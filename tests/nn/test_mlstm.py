"""Law 5 of the mLSTM: stabilised chunks against the equations, one position after another in float64."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from s2s_lightning.nn.mlstm import Memory, mlstm
from tests.nn.test_ssd import with_gradients

ROWS, LENGTH, HEADS, KEYS, VALUES = 2, 2000, 2, 4, 3


def sequential(
    q: Tensor, k: Tensor, v: Tensor, log_input: Tensor, log_forget: Tensor, matrix: Tensor, normaliser: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The equations, without a stabiliser."""
    outputs = []
    for t in range(q.shape[1]):
        enter, keep = log_input[:, t].exp().unsqueeze(-1), log_forget[:, t].exp().unsqueeze(-1)
        matrix = keep.unsqueeze(-1) * matrix + torch.einsum("bhn,bhp->bhnp", enter * k[:, t], v[:, t])
        normaliser = keep * normaliser + enter * k[:, t]
        product = (normaliser * q[:, t]).sum(-1, keepdim=True)
        outputs.append(torch.einsum("bhnp,bhn->bhp", matrix, q[:, t]) / product.abs().clamp(min=1))
    return torch.stack(outputs, 1), matrix, normaliser


def stabilised(*parts: Tensor, chunk_size: int = 32, m: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """The same of ``mlstm``, from a state divided by exp(m)."""
    *sequences, matrix, normaliser = parts
    start = torch.cat([matrix, normaliser.unsqueeze(-1)], -1) * math.exp(-m)
    h, memory = mlstm(*sequences, Memory(start, matrix.new_full(matrix.shape[:2], m)), chunk_size)
    state = memory.matrix * memory.stabiliser.exp()[..., None, None]
    return h, state[..., :-1], state[..., -1]


def inputs(length: int = LENGTH) -> list[Tensor]:
    """Random ones in float64, a state to go on from, a tenth of the positions padding."""
    torch.manual_seed(0)
    padding = torch.rand(ROWS, length, 1) < 0.1
    q, k = torch.randn(2, ROWS, length, HEADS, KEYS).double()
    v = torch.randn(ROWS, length, HEADS, VALUES).double()
    log_input = torch.randn(ROWS, length, HEADS).double().masked_fill(padding, -torch.inf)
    log_forget = F.logsigmoid(3 * torch.randn(ROWS, length, HEADS).double()).masked_fill(padding, 0)
    matrix = torch.randn(ROWS, HEADS, KEYS, VALUES).double()
    return [q * KEYS**-0.5, k, v, log_input, log_forget, matrix, torch.randn(ROWS, HEADS, KEYS).double()]


@pytest.fixture(scope="module")
def case() -> tuple[list[Tensor], list[Tensor]]:
    """Inputs, and what the equations make of them."""
    leaves = [part.requires_grad_() for part in inputs()]
    return leaves, with_gradients(sequential(*leaves), leaves)


@pytest.mark.parametrize("chunk_size", [7, 32, 64])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-8), (torch.float32, 1e-4)])
def test_chunks_compute_the_recurrence(
    case: tuple[list[Tensor], list[Tensor]], chunk_size: int, dtype: torch.dtype, tolerance: float
) -> None:
    leaves, expected = case
    leaves = [part.detach().to(dtype).requires_grad_() for part in leaves]
    found = with_gradients(stabilised(*leaves, chunk_size=chunk_size), leaves)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("m", [1.0, 12.0])
def test_the_stabiliser_cancels(m: float) -> None:
    leaves = inputs(length=40)
    for a, b in zip(stabilised(*leaves, m=m), stabilised(*leaves), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("cuts", [[1], [5, 6], list(range(1, 40))])
def test_pieces_with_a_carried_memory_make_the_whole(cuts: list[int]) -> None:
    *sequences, matrix, normaliser = inputs(length=40)
    memory = Memory(torch.cat([matrix, normaliser.unsqueeze(-1)], -1), matrix.new_zeros(ROWS, HEADS))
    whole, last = mlstm(*sequences, memory, chunk_size=8)
    outputs = []
    for piece in zip(*(part.tensor_split(cuts, 1) for part in sequences), strict=True):
        h, memory = mlstm(*piece, memory, chunk_size=8)
        outputs.append(h)
    torch.testing.assert_close(torch.cat(outputs, 1), whole, rtol=0, atol=1e-10)
    for a, b in zip(memory, last, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("length", [1, 70])
@pytest.mark.parametrize("log_input", [-1e3, 1e3, "mixed"])
@pytest.mark.parametrize("log_forget", [-1e3, 0.0, "mixed"])
def test_saturated_gates_give_finite_values_and_gradients(
    length: int, log_input: float | str, log_forget: float | str
) -> None:
    q, k, v, *_ = (part.float() for part in inputs(length))
    q[:, -1] = 0  # a query that meets nothing must not divide by it
    sign = torch.randn(ROWS, length, HEADS).sign()
    enter = 1e3 * sign if log_input == "mixed" else torch.full_like(sign, log_input)
    keep = -1e3 * (sign.flip(1) > 0) if log_forget == "mixed" else torch.full_like(sign, log_forget)
    leaves = [part.requires_grad_() for part in (q, k, v, enter, keep)]
    h, memory = mlstm(*leaves, Memory.empty(ROWS, HEADS, KEYS, VALUES, q))
    assert all(part.isfinite().all() for part in with_gradients([h, memory.matrix], leaves))
