"""Law 5: every way to compute a scan against steps in a row, in values and gradients."""

import pytest
import torch
from torch import Tensor

from s2s_lightning.nn import scan as module
from s2s_lightning.nn.scan import hold, scan, scan_loop, turn

Case = tuple[Tensor, Tensor, Tensor]
LENGTHS = [1, 2, 31, 32, 33, 100, 2000]


@pytest.fixture(params=["in a row", "in chunks"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The two ways, whatever the sizes (short sequences always go in a row)."""
    monkeypatch.setattr(module, "BIG_STEP", 0 if request.param == "in a row" else 10**9)
    return request.param


def case(length: int, dtype: torch.dtype = torch.float64) -> Case:
    """Gates of 0, of 1 and between, the end of one row held as padding; |h| stays about 1."""
    generator = torch.Generator().manual_seed(length)
    a = (6 * torch.randn(3, length, 4, generator=generator, dtype=torch.float64)).sigmoid()
    a[:, ::7, 0], a[:, ::5, 1] = 0, 1
    b = (1 - a) * torch.randn(3, length, 4, generator=generator, dtype=torch.float64)
    a, b = hold(a, b, torch.arange(length) >= torch.tensor([[length], [length - length // 3], [1]]))
    h0 = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    return a.to(dtype), b.to(dtype), h0.to(dtype)


def with_gradients(function: object, inputs: Case) -> list[Tensor]:
    """The states, and the gradients for a, b and h0 of a fixed random projection of them."""
    leaves = [x.clone().requires_grad_() for x in inputs]
    h = function(*leaves)
    seed = torch.randn(h.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(h.dtype)
    return [h.detach(), *torch.autograd.grad(h, leaves, seed)]


@pytest.mark.parametrize("length", LENGTHS)
def test_a_scan_is_the_recurrence_step_by_step_in_values_and_gradients(way: str, length: int) -> None:
    inputs = case(length)
    for found, expected in zip(with_gradients(scan, inputs), with_gradients(scan_loop, inputs), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("length", LENGTHS)
def test_single_precision_is_near_the_steps_in_double(way: str, length: int) -> None:
    single, double = case(length, torch.float32), case(length)
    for found, expected in zip(with_gradients(scan, single), with_gradients(scan_loop, double), strict=True):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("gate", [0.0, 1.0])
def test_saturated_gates_give_finite_values_and_gradients(way: str, gate: float) -> None:
    a, b, h0 = case(2000, torch.float32)
    for found in with_gradients(scan, (torch.full_like(a, gate), b, h0)):
        assert found.isfinite().all()


def test_a_state_carried_from_piece_to_piece_makes_the_whole(way: str) -> None:
    a, b, h = case(200)
    whole, pieces = scan(a, b, h), []
    for piece in zip(a.split([1, 60, 139], 1), b.split([1, 60, 139], 1), strict=True):
        pieces.append(scan(*piece, h))
        h = pieces[-1][:, -1]
    torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=0, atol=1e-12)


def test_the_gradient_can_be_differentiated_too(way: str) -> None:
    inputs = [x[:1, :36, :2].clone().requires_grad_() for x in case(40)[:2]]
    h0 = case(40)[2][:1, :2].clone().requires_grad_()
    assert torch.autograd.gradgradcheck(scan, (*inputs, h0))


def test_padding_keeps_the_state() -> None:
    a, b, h0 = torch.rand(2, 5, 3), torch.randn(2, 5, 3), torch.randn(2, 3)
    padding = torch.arange(5) >= torch.tensor([[5], [2]])
    last = scan(*hold(a, b, padding), h0)[:, -1]
    torch.testing.assert_close(last[0], scan_loop(a, b, h0)[0, -1])
    torch.testing.assert_close(last[1], scan_loop(a, b, h0)[1, 1])


def test_the_turned_half_reads_each_row_from_its_last_real_position() -> None:
    a, b = torch.rand(2, 5, 4, dtype=torch.float64), torch.randn(2, 5, 4, dtype=torch.float64)
    padding = torch.arange(5) >= torch.tensor([[5], [2]])
    h0 = torch.zeros(2, 4, dtype=torch.float64)
    h = turn(scan(*(turn(x) for x in hold(a, b, padding)), h0))
    for row, length in enumerate([5, 2]):
        one = slice(row, row + 1)
        forwards = scan_loop(a[one, :length], b[one, :length], h0[one])
        backwards = scan_loop(a[one, :length].flip(1), b[one, :length].flip(1), h0[one]).flip(1)
        expected = torch.cat([forwards[..., :2], backwards[..., 2:]], -1)
        torch.testing.assert_close(h[one, :length], expected)


def test_half_precision_is_scanned_in_single() -> None:
    inputs = [x.bfloat16() for x in case(50)]
    assert scan(*inputs).dtype == torch.float32
