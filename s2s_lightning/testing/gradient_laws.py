"""Laws of gradients: each parameter learns, and parts of a batch have the gradient of the whole."""

import re

import torch
from torch import Tensor

from s2s_lightning import PAD
from s2s_lightning.model import Batch, Seq2Seq
from s2s_lightning.testing.batches import random_batch
from s2s_lightning.testing.law import BrokenLaw, tolerance

KEY_BIAS = re.compile(r"(^|[._])k(eys?)?(_proj)?\.bias$")
"""Biases of keys: a constant added to every score of a row cancels in the softmax."""


@torch.enable_grad()
def gradients_of(model: Seq2Seq, *parts: Batch) -> dict[str, Tensor | None]:
    """Return the gradient of the mean loss over parts of a batch, by name; the network's own stay what they are."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    tokens = sum(int((part.tgt_out != PAD).sum()) for part in parts)
    sums: dict[str, Tensor | None] = dict.fromkeys(trained)
    for part in parts:
        loss = model.cross_entropy(model.teacher_force(part), part.tgt_out, 0.1).sum / tokens
        found = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
        for name, gradient in zip(trained, found, strict=True):
            before = sums[name]
            sums[name] = gradient if before is None else before if gradient is None else before + gradient
    return sums


def gradients(model: Seq2Seq) -> None:
    """Look for parameters whose gradient is missing, or zero in the whole tensor."""
    dead = []
    found = gradients_of(model, random_batch(model, 8, longest=9))
    for name, gradient in found.items():
        if gradient is None or (not gradient.abs().max() > 1e-9 and not KEY_BIAS.search(name)):
            dead.append(f"{name} ({'none' if gradient is None else 'zero'})")
    if dead:
        names = ", ".join(dead[:4]) + (", ..." if len(dead) > 4 else "")
        raise BrokenLaw(f"{len(dead)} of {len(found)} parameters have no gradient: {names}")


def micro_batches(model: Seq2Seq) -> None:
    """Compare the gradient of one batch with the sum of those of three unequal parts."""
    batch = random_batch(model, 7, longest=9)
    parts = [_rows(batch, slice(0, 1)), _rows(batch, slice(1, 3)), _rows(batch, slice(3, 7))]
    whole, summed = gradients_of(model, batch), gradients_of(model, *parts)
    limit = tolerance(model)
    gaps = {name: _gap(gradient, summed[name]) for name, gradient in whole.items()}
    wrong = [name for name, gap in gaps.items() if not gap <= limit]
    if wrong:
        worst = max(wrong, key=lambda name: gaps[name])
        raise BrokenLaw(
            f"gradients of {len(wrong)} of {len(gaps)} parameters change by up to {gaps[worst]:.2g} ({worst}) "
            "when the batch is cut into three"
        )


def _gap(a: Tensor | None, b: Tensor | None) -> float:
    return 0.0 if a is None or b is None else (a - b).abs().max().item()


def _rows(batch: Batch, rows: slice) -> Batch:
    """Return some pairs of a batch, with the padding that they have there."""
    return batch._replace(**{name: x[rows] for name, x in batch._asdict().items() if x is not None and x.ndim})
