"""Law 5 of retention and the delta rules: loops over positions in float64, written from the papers' equations."""

import math
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from s2s_lightning.nn import linear_attention
from s2s_lightning.nn.linear_attention import delta_rule, retention

Result = tuple[Tensor, Tensor]
GAMMAS = 1 - 2.0 ** -torch.arange(5, 8, dtype=torch.float64)


class Inputs(NamedTuple):
    """Queries and keys (B, H, T, d), values (B, H, T, d'), gates (B, H, T), a first state (B, H, d, d')."""

    q: Tensor
    k: Tensor
    v: Tensor
    beta: Tensor
    log_decay: Tensor
    state: Tensor


def inputs(length: int, seed: int = 0) -> Inputs:
    """Of B 2, H 3, d 4, d' 5 in float64, keys of length 1."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(2, 3, *shape, generator=generator, dtype=torch.float64)

    k = torch.nn.functional.normalize(normal(length, 4), dim=-1)
    gates = normal(length).sigmoid(), -normal(length).exp() / 10
    made = Inputs(normal(length, 4), k, normal(length, 5), *gates, normal(4, 5))
    return Inputs(*(x.requires_grad_() for x in made))


def as_retention(x: Inputs, state: Tensor | None, padding: Tensor | None) -> Result:
    return retention(x.q, x.k, x.v, GAMMAS.log(), state, padding)


def as_delta_rule(x: Inputs, state: Tensor | None, padding: Tensor | None) -> Result:
    return delta_rule(x.q, x.k, x.v, x.beta, None, state, padding)


def as_gated_delta_rule(x: Inputs, state: Tensor | None, padding: Tensor | None) -> Result:
    return delta_rule(x.q, x.k, x.v, x.beta, x.log_decay, state, padding)


def retention_loop(x: Inputs, row: int, head: int, state: Tensor, positions: list[int]) -> Result:
    """S = gamma S + k v^T; o = S^T q."""
    out = []
    for t in positions:
        state = GAMMAS[head] * state + torch.outer(x.k[row, head, t], x.v[row, head, t])
        out.append(state.T @ x.q[row, head, t])
    return torch.stack(out), state


def delta_loop(x: Inputs, row: int, head: int, state: Tensor, positions: list[int], gated: bool = False) -> Result:
    """S = a (I - beta k k^T) S + beta k v^T; o = S^T q."""
    out = []
    for t in positions:
        k, v, beta = x.k[row, head, t], x.v[row, head, t], x.beta[row, head, t]
        forget = torch.eye(len(k), dtype=k.dtype) - beta * torch.outer(k, k)
        state = (x.log_decay[row, head, t].exp() if gated else 1) * forget @ state + beta * torch.outer(k, v)
        out.append(state.T @ x.q[row, head, t])
    return torch.stack(out), state


def gated_delta_loop(x: Inputs, row: int, head: int, state: Tensor, positions: list[int]) -> Result:
    return delta_loop(x, row, head, state, positions, gated=True)


KINDS: dict[str, tuple[Callable[..., Result], Callable[..., Result]]] = {
    "retention": (as_retention, retention_loop),
    "delta": (as_delta_rule, delta_loop),
    "gated_delta": (as_gated_delta_rule, gated_delta_loop),
}


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def kind(request: pytest.FixtureRequest) -> tuple[Callable[..., Result], Callable[..., Result]]:
    """Each kind in turn: what the package computes, and the loop."""
    return request.param


def looped(loop: Callable[..., Result], x: Inputs, state: Tensor, padding: Tensor | None = None) -> Result:
    """The loop over each row's and head's real positions; zeros at padding."""
    rows, heads, length, _ = x.v.shape
    outputs, states = [], []
    for row in range(rows):
        real = [t for t in range(length) if padding is None or not padding[row, t]]
        for head in range(heads):
            o, last = loop(x, row, head, state[row, head], real)
            outputs.append(torch.zeros_like(x.v[row, head]).index_copy(0, torch.tensor(real), o))
            states.append(last)
    return torch.stack(outputs).unflatten(0, (rows, heads)), torch.stack(states).unflatten(0, (rows, heads))


def close(found: Result, expected: Result, tolerance: float) -> None:
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a.to(b.dtype), b, rtol=0, atol=tolerance)


def gradients(x: Inputs, result: Result, padding: Tensor | None = None) -> list[Tensor]:
    """Of a random sum over real outputs and the last state; zero for what is not used."""
    generator = torch.Generator().manual_seed(1)
    o, state = result
    if padding is not None:
        o = o.masked_fill(padding[:, None, :, None], 0)
    weights = (torch.randn(y.shape, generator=generator, dtype=torch.float64) for y in (o, state))
    total = sum((y * weight).sum() for y, weight in zip((o, state), weights, strict=True))
    return list(torch.autograd.grad(total, x, allow_unused=True, materialize_grads=True))


LENGTH = 2 * linear_attention.CHUNK + 7


@pytest.mark.parametrize("length", [1, 2, linear_attention.CHUNK, linear_attention.CHUNK + 1, LENGTH])
def test_chunks_are_the_recurrence_in_values_and_gradients(kind, length: int) -> None:
    compute, loop = kind
    x = inputs(length)
    found, expected = compute(x, x.state, None), looped(loop, x, x.state)
    close(found, expected, 1e-10)
    for a, b in zip(gradients(x, found), gradients(x, expected), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


@pytest.mark.parametrize("in_front", [False, True], ids=["behind", "in_front"])
def test_padding_leaves_state_outputs_and_gradients_as_they_are(kind, in_front: bool) -> None:
    compute, loop = kind
    x = inputs(LENGTH)
    padding = torch.arange(LENGTH) >= torch.tensor([[5], [LENGTH - 3]])
    padding = padding.flip(1) if in_front else padding
    found, expected = compute(x, x.state, padding), looped(loop, x, x.state, padding)
    real = ~padding[:, None, :, None]
    close((found[0] * real, found[1]), expected, 1e-10)
    for a, b in zip(gradients(x, found, padding), gradients(x, expected, padding), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


def test_no_state_is_a_state_of_zeros(kind) -> None:
    compute, _ = kind
    for length in (1, 9, LENGTH):
        x = inputs(length)
        close(compute(x, None, None), compute(x, torch.zeros_like(x.state), None), 1e-12)


@pytest.mark.parametrize("cuts", [[1], [4, 5, 40], list(range(1, LENGTH))], ids=["one", "some", "steps"])
def test_any_split_gives_the_outputs_of_one_call(kind, cuts: list[int]) -> None:
    compute, _ = kind
    x = inputs(LENGTH)
    pieces = [part.tensor_split(cuts, 2) for part in x[:-1]]
    outputs, state = [], x.state
    for piece in zip(*pieces, strict=True):
        o, state = compute(Inputs(*piece, x.state), state, None)
        outputs.append(o)
    close((torch.cat(outputs, 2), state), compute(x, x.state, None), 1e-10)


def test_two_thousand_positions_are_the_recurrence(kind) -> None:
    """1e-8 in float64, and 1e-4 of the float64 loop in float32, with padding and a carried state."""
    compute, loop = kind
    x = Inputs(*(part.detach() for part in inputs(2000)))
    padding = torch.arange(2000) >= torch.tensor([[2000], [1990]])
    real = ~padding[:, None, :, None]
    expected = looped(loop, x, x.state, padding)
    for dtype, tolerance in ((torch.float64, 1e-8), (torch.float32, 1e-4)):
        o, state = compute(Inputs(*(part.to(dtype) for part in x)), x.state.to(dtype), padding)
        close((o * real, state), expected, tolerance)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
def test_saturated_gates_stay_finite_and_right(dtype: torch.dtype) -> None:
    """Beta 0 and 1, a decay that forgets all or nothing, keys that repeat."""
    x = inputs(300)
    with torch.no_grad():
        x.beta[0] = (torch.arange(300) % 3 > 0).double()
        x.log_decay[:] = torch.tensor([-1e4, 0.0, -1e-6, -0.1, -60.0], dtype=torch.float64).repeat(60)
        x.log_decay[0, 0] = 0
        x.k[:, :, 100:150] = x.k[:, :, 100:101]
    low = Inputs(*(part.detach().to(dtype).requires_grad_() for part in x))
    found, expected = as_gated_delta_rule(low, low.state, None), looped(gated_delta_loop, x, x.state)
    close(found, expected, 1e-9 if dtype == torch.float64 else 1e-4)
    for a, b in zip(gradients(low, found), gradients(x, expected), strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-3, atol=1e-9 if dtype == torch.float64 else 1e-3)


def test_retention_is_the_papers_parallel_form() -> None:
    """(Q K^T * D) V, D_nm = gamma^(n-m) for n >= m, else 0 (Sun et al., 2023, 2.1)."""
    x = inputs(LENGTH)
    n = torch.arange(LENGTH)
    distance = n[:, None] - n[None]
    decay = torch.where(distance >= 0, GAMMAS[:, None, None] ** distance, 0)
    o, _ = as_retention(x, None, None)
    torch.testing.assert_close(o, (x.q @ x.k.mT * decay) @ x.v, rtol=0, atol=1e-10)


def test_the_gated_rule_is_what_qwen3_next_computes() -> None:
    qwen = pytest.importorskip("transformers.models.qwen3_next.modeling_qwen3_next")
    x = Inputs(*(part.detach().float() for part in inputs(100)))
    q, k, v, beta, log_decay = (part.transpose(1, 2) for part in x[:-1])
    o, state = as_gated_delta_rule(x._replace(q=x.q / math.sqrt(x.q.shape[-1])), x.state, None)
    for reference in (qwen.torch_chunk_gated_delta_rule, qwen.torch_recurrent_gated_delta_rule):
        theirs = reference(q, k, v, g=log_decay, beta=beta, initial_state=x.state, output_final_state=True)
        close((o.transpose(1, 2), state), theirs, 1e-5)


def test_autocast_does_not_reach_the_state(kind) -> None:
    compute, _ = kind
    x = Inputs(*(part.detach().bfloat16() for part in inputs(LENGTH)))
    expected = compute(Inputs(*(part.float() for part in x)), x.state.float(), None)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = compute(x, x.state.float(), None)
    assert found[1].dtype == torch.float32
    close(found, expected, 0)
