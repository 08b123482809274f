"""Cross-entropy of a linear readout in chunks: the (tokens, V) logits never exist whole.

Shape letters: N tokens, D width, V vocabulary.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from s2s_lightning import PAD

CPU_LOGITS, GPU_LOGITS = 2**21, 2**25
"""Logits that exist at a time. 8 MiB stay in a CPU's cache, and malloc reuses them; a GPU wants larger products."""


class CrossEntropy(NamedTuple):
    """Sums over real target tokens, in nats.

    Attributes:
        sum: () label-smoothed cross-entropy, what is minimised.
        nll: () plain negative log-likelihood, without gradient.
    """

    sum: Tensor
    nll: Tensor


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    target: Tensor,
    label_smoothing: float = 0.0,
    *,
    chunk: int | None = None,
) -> CrossEntropy:
    """-sum_v q_v log softmax(W h + b)_v with q = (1 - e) * one_hot(target) + e / V, summed over real tokens.

    The forward call makes the gradients too, a chunk of tokens at a time, while their logits are there; the backward
    call only scales them. Under autocast the products run in its type, the softmax in float32. There are no gradients
    of gradients.

    Args:
        hidden: (..., D).
        weight: (V, D).
        bias: (V,).
        target: (...) int64; PAD is ignored.
        label_smoothing: e, the probability mass spread evenly over the V tokens.
        chunk: tokens whose logits exist at a time; by default a few MiB of them on a CPU, more elsewhere.
    """
    rows, ids = hidden.reshape(-1, hidden.shape[-1]), target.reshape(-1)
    size = chunk or max(1, (CPU_LOGITS if hidden.device.type == "cpu" else GPU_LOGITS) // len(weight))
    if torch.is_grad_enabled():
        sums = _LinearCrossEntropy.apply(rows, weight, bias, ids, label_smoothing, size)  # type: ignore[no-untyped-call]
        return CrossEntropy(*sums)
    return _accumulate(rows, weight, bias, ids, label_smoothing, chunk=size, gradients=None)


class _Gradients(NamedTuple):
    """Of the summed loss."""

    hidden: Tensor  # (N, D)
    weight: Tensor  # (V, D)
    bias: Tensor  # (V,)


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, target: Tensor, label_smoothing: float, chunk: int
    ) -> tuple[Tensor, Tensor]:
        inputs = hidden, weight, bias
        gradients = _Gradients(*(torch.zeros_like(x, dtype=_float32_at_least(x.dtype)) for x in inputs))
        loss = _accumulate(*inputs, target, label_smoothing, chunk=chunk, gradients=gradients)
        ctx.save_for_backward(*gradients)
        ctx.dtypes = [x.dtype for x in inputs]
        ctx.mark_non_differentiable(loss.nll)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_sum: Tensor, _grad_nll: Tensor) -> tuple[Tensor | None, ...]:
        scaled = [g.mul(grad_sum).to(dtype) for g, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True)]
        return *scaled, None, None, None


def _accumulate(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    target: Tensor,
    label_smoothing: float,
    *,
    chunk: int,
    gradients: _Gradients | None,
) -> CrossEntropy:
    """The sums for hidden (N, D) and target (N,); ``gradients``, zero before, are filled if given.

    Smoothing adds e * (target logit - mean logit) to the loss of a token. Means over the vocabulary are products with
    the mean row of W, so that it costs no pass over the logits, neither here nor in the gradients.
    """
    device = hidden.device.type
    product_type = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
    exact = _float32_at_least(product_type)
    real = (target != PAD).to(exact).unsqueeze(1)
    nll, target_logits = hidden.new_zeros(2, dtype=exact)
    with torch.autocast(device, enabled=False):
        w, b = weight.to(product_type), bias.to(exact)
        for start in range(0, len(hidden), chunk):
            span = slice(start, start + chunk)
            h, y, r = hidden[span].to(product_type), target[span].unsqueeze(1), real[span]
            logits = torch.mm(h, w.t()).to(exact).add_(b)
            z_y, top = logits.gather(1, y), logits.amax(1, keepdim=True)
            mass = logits.sub_(top).exp_().sum(1, keepdim=True)  # in place: now probabilities but for their sum
            nll += (r * (mass.log() + top - z_y)).sum()
            target_logits += (r * z_y).sum()
            if gradients is not None:
                difference = logits.mul_(r / mass).scatter_add_(1, y, r * (label_smoothing - 1))
                gradients.bias.add_(difference.sum(0))
                difference = difference.to(product_type)
                gradients.hidden[span] = difference @ w
                _add_product(gradients.weight, difference.t(), h)
        mean_w, mean_b = weight.to(exact).mean(0), b.mean()
        total_h = real.squeeze(1) @ hidden.to(exact)
        mean_logits = total_h @ mean_w + real.sum() * mean_b
        if gradients is not None:
            gradients.hidden.addcmul_(real, mean_w, value=-label_smoothing)
            gradients.weight.sub_(total_h, alpha=label_smoothing / len(weight))
            gradients.bias.sub_(real.sum(), alpha=label_smoothing / len(weight))
    return CrossEntropy(nll + label_smoothing * (target_logits - mean_logits), nll)


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """Add a @ b, within the product where it is made in the type of the total."""
    if a.dtype == total.dtype:
        total.addmm_(a, b)
    else:
        total.add_(a @ b)


def _float32_at_least(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)
