"""Cross-entropy of a linear readout, alone or in a mixture, in chunks: the (tokens, V) logits never exist whole.

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
    return _cross_entropy(rows, weight, bias, None, None, ids, label_smoothing, chunk=chunk or _chunk(rows, weight))


def mixture_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    log_share: Tensor,
    log_rest: Tensor,
    target: Tensor,
    label_smoothing: float = 0.0,
    *,
    chunk: int | None = None,
) -> CrossEntropy:
    """``linear_cross_entropy`` of a softmax that is a part of a mixture: -log(share * softmax(W h + b)_y + rest).

    Smoothing is that of the softmax alone, (1 - e) * nll + e * mean_v(-log softmax_v), for the rest is known at the
    target only; with share 1 and rest 0 it is the usual one.

    Args:
        hidden: (..., D).
        weight: (V, D).
        bias: (V,).
        log_share: (...), the logarithm of the softmax's share.
        log_rest: (...), that of what others give to the target.
        target: (...) int64; PAD is ignored, to an id from V on the softmax gives nothing.
        label_smoothing: e.
        chunk: tokens whose logits exist at a time.
    """
    rows, ids = hidden.reshape(-1, hidden.shape[-1]), target.reshape(-1)
    parts = log_share.reshape(-1, 1), log_rest.reshape(-1, 1)
    return _cross_entropy(rows, weight, bias, *parts, ids, label_smoothing, chunk=chunk or _chunk(rows, weight))


def _chunk(hidden: Tensor, weight: Tensor) -> int:
    return max(1, (CPU_LOGITS if hidden.device.type == "cpu" else GPU_LOGITS) // len(weight))


def _cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    log_share: Tensor | None,
    log_rest: Tensor | None,
    target: Tensor,
    label_smoothing: float,
    *,
    chunk: int,
) -> CrossEntropy:
    inputs = hidden, weight, bias, log_share, log_rest
    if torch.is_grad_enabled():
        return CrossEntropy(*_CrossEntropy.apply(*inputs, target, label_smoothing, chunk))  # type: ignore[no-untyped-call]
    return _accumulate(*inputs, target, label_smoothing, chunk=chunk, gradients=None)


class _Gradients(NamedTuple):
    """Gradients of the summed loss."""

    hidden: Tensor  # (N, D)
    weight: Tensor  # (V, D)
    bias: Tensor  # (V,)
    log_share: Tensor | None  # (N, 1), None where the softmax is all there is
    log_rest: Tensor | None  # (N, 1)


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor,
        log_share: Tensor | None,
        log_rest: Tensor | None,
        target: Tensor,
        label_smoothing: float,
        chunk: int,
    ) -> tuple[Tensor, Tensor]:
        inputs = hidden, weight, bias, log_share, log_rest
        zeros = (None if x is None else torch.zeros_like(x, dtype=_float32_at_least(x.dtype)) for x in inputs)
        gradients = _Gradients(*zeros)  # type: ignore[arg-type]
        loss = _accumulate(*inputs, target, label_smoothing, chunk=chunk, gradients=gradients)
        ctx.save_for_backward(*gradients)
        ctx.dtypes = [None if x is None else x.dtype for x in inputs]
        ctx.mark_non_differentiable(loss.nll)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_sum: Tensor, _grad_nll: Tensor) -> tuple[Tensor | None, ...]:
        saved = zip(ctx.saved_tensors, ctx.dtypes, strict=True)
        scaled = [None if g is None else g.mul(grad_sum).to(dtype) for g, dtype in saved]
        return *scaled, None, None, None


def _accumulate(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    log_share: Tensor | None,
    log_rest: Tensor | None,
    target: Tensor,
    label_smoothing: float,
    *,
    chunk: int,
    gradients: _Gradients | None,
) -> CrossEntropy:
    """The sums for hidden (N, D) and target (N,); ``gradients``, zero before, are filled if given.

    Smoothing is e * (log-sum of exponentials - mean logit) of a token. Means over the vocabulary are products with the
    mean row of W, so that it costs no pass over the logits, neither here nor in the gradients.

    ``of_softmax`` (n, 1) is the probability that a target came from the softmax, given the target: 1 where that is all.
    """
    device = hidden.device.type
    product_type = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
    exact = _float32_at_least(product_type)
    real = (target != PAD).to(exact).unsqueeze(1)
    nll, normalisers = hidden.new_zeros(2, dtype=exact)
    with torch.autocast(device, enabled=False):
        w, b = weight.to(product_type), bias.to(exact)
        for start in range(0, len(hidden), chunk):
            span = slice(start, start + chunk)
            h, y, r = hidden[span].to(product_type), target[span].unsqueeze(1), real[span]
            logits = torch.mm(h, w.t()).to(exact).add_(b)
            known = y if log_share is None else y.clamp(max=len(weight) - 1)
            z_y, top = logits.gather(1, known), logits.amax(1, keepdim=True)
            mass = logits.sub_(top).exp_().sum(1, keepdim=True)  # in place: now probabilities but for their sum
            normaliser = mass.log() + top
            log_p, of_softmax = z_y - normaliser, r
            if log_share is not None and log_rest is not None:
                log_softmax = log_share[span] + log_p.masked_fill(known != y, -torch.inf)
                log_p = torch.logaddexp(log_softmax, log_rest[span])
                of_softmax = r * (log_softmax - log_p).exp()
            nll -= (r * log_p).sum()
            normalisers += (r * normaliser).sum()
            if gradients is not None:
                of_target = of_softmax * (1 - label_smoothing)
                difference = logits.mul_((of_target + r * label_smoothing) / mass).scatter_add_(1, known, -of_target)
                if gradients.log_share is not None and gradients.log_rest is not None:
                    gradients.log_share[span] = -of_target
                    gradients.log_rest[span] = of_target - r * (1 - label_smoothing)
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
    return CrossEntropy((1 - label_smoothing) * nll + label_smoothing * (normalisers - mean_logits), nll)


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """Add a @ b, within the product where it is made in the type of the total."""
    if a.dtype == total.dtype:
        total.addmm_(a, b)
    else:
        total.add_(a @ b)


def _float32_at_least(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)
