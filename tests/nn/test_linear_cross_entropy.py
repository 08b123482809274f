"""Law 15: the chunked loss is the plain loss, in value and gradients."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from s2s_lightning import PAD
from s2s_lightning.nn.linear_cross_entropy import linear_cross_entropy

VOCAB, WIDTH = 11, 6


def make_inputs(dtype: torch.dtype = torch.float64) -> tuple[list[Tensor], Tensor]:
    """Hidden states, weight and bias that want gradients; a target (3, 7) with padding."""
    generator = torch.Generator().manual_seed(1)
    shapes = (3, 7, WIDTH), (VOCAB, WIDTH), (VOCAB,)
    inputs = [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]
    target = torch.randint(1, VOCAB, (3, 7), generator=generator)
    target[1, 4:] = PAD
    return inputs, target


def plain_loss(inputs: list[Tensor], target: Tensor, label_smoothing: float) -> Tensor:
    logits = linear(*inputs).flatten(0, 1)
    return cross_entropy(logits, target.flatten(), ignore_index=PAD, label_smoothing=label_smoothing, reduction="sum")


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("chunk", [1, 4, 21, None])
def test_chunked_loss_equals_plain_loss_in_value_and_gradients(chunk: int | None, label_smoothing: float) -> None:
    inputs, target = make_inputs()
    ours = linear_cross_entropy(*inputs, target, label_smoothing, chunk=chunk)
    plain = plain_loss(inputs, target, label_smoothing)
    torch.testing.assert_close(ours.sum, plain, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours.nll, plain_loss(inputs, target, 0.0), rtol=1e-12, atol=1e-12)
    scale = 0.3  # what is summed here is divided by the tokens later
    for a, b in zip(
        torch.autograd.grad(ours.sum * scale, inputs), torch.autograd.grad(plain * scale, inputs), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_without_gradients_the_sums_are_the_same() -> None:
    inputs, target = make_inputs()
    with torch.no_grad():
        evaluated = linear_cross_entropy(*inputs, target, 0.1, chunk=4)
    torch.testing.assert_close(evaluated, linear_cross_entropy(*inputs, target, 0.1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_uniform_logits_cost_log_vocabulary_a_token(label_smoothing: float) -> None:
    (hidden, weight, bias), target = make_inputs()
    loss = linear_cross_entropy(hidden, torch.zeros_like(weight), torch.zeros_like(bias), target, label_smoothing)
    expected = (target != PAD).sum().item() * math.log(VOCAB)
    assert loss.sum.item() == pytest.approx(expected, rel=1e-12)
    assert loss.nll.item() == pytest.approx(expected, rel=1e-12)


def test_hidden_states_at_padding_change_nothing_and_get_no_gradient() -> None:
    inputs, target = make_inputs()
    loss = linear_cross_entropy(*inputs, target, 0.1).sum
    (gradient,) = torch.autograd.grad(loss, inputs[0])
    assert gradient[target == PAD].abs().max() == 0
    changed = inputs[0].detach().clone()
    changed[target == PAD] = 1e3
    torch.testing.assert_close(linear_cross_entropy(changed, *inputs[1:], target, 0.1).sum, loss, rtol=1e-12, atol=0)


def test_logits_of_any_size_stay_finite() -> None:
    (hidden, weight, bias), target = make_inputs(torch.float32)
    inputs = [hidden, weight.detach().mul(1e4).requires_grad_(), bias]
    loss = linear_cross_entropy(*inputs, target, 0.1)
    gradients = torch.autograd.grad(loss.sum, inputs)
    assert all(x.isfinite().all() for x in (*loss, *gradients))


def test_bf16_autocast_is_close_to_float32() -> None:
    inputs, target = make_inputs(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        ours = linear_cross_entropy(*inputs, target, 0.1, chunk=4)
    exact = linear_cross_entropy(*inputs, target, 0.1)
    assert ours.sum.dtype == torch.float32
    torch.testing.assert_close(ours, exact, rtol=1e-2, atol=0)
    for a, b in zip(torch.autograd.grad(ours.sum, inputs), torch.autograd.grad(exact.sum, inputs), strict=True):
        assert a.dtype == torch.float32
        assert (a - b).norm() < 0.02 * b.norm()


def test_gradients_come_in_the_type_of_their_tensor() -> None:
    (hidden, weight, bias), target = make_inputs(torch.float32)
    inputs = [hidden.detach().bfloat16().requires_grad_(), weight, bias]
    with torch.autocast("cpu", torch.bfloat16):
        loss = linear_cross_entropy(*inputs, target, 0.1).sum
    assert [g.dtype for g in torch.autograd.grad(loss, inputs)] == [torch.bfloat16, torch.float32, torch.float32]


class Largest(TorchDispatchMode):
    """The most elements of any tensor that an operation gives."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves(result) if isinstance(x, Tensor)]
        self.elements = max([self.elements, *(x.numel() for x in tensors)])
        return result


def test_the_logits_never_exist_whole() -> None:
    tokens, vocab, chunk = 64, 500, 4
    hidden, weight = torch.randn(tokens, 3).requires_grad_(), torch.randn(vocab, 3).requires_grad_()
    target = torch.randint(1, vocab, (tokens,))
    with Largest() as seen:
        linear_cross_entropy(hidden, weight, torch.zeros(vocab), target, 0.1, chunk=chunk).sum.backward()
    assert chunk * vocab <= seen.elements < 2 * chunk * vocab
