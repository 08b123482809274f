"""Location in a network of the first number that is not finite."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from s2s_lightning.model import Batch


class Finding(NamedTuple):
    """The first value that is not finite, and the rows of the batch in which it is not; no rows if it concerns all."""

    what: str
    rows: list[int]


def locate(model: nn.Module, loss: Callable[[Batch], Tensor], batch: Batch) -> Finding | None:
    """Run a batch forward, and backward if need be, and say where it goes wrong first.

    In this order: a weight; the output of a module, in the order of computation; the loss; the gradient with respect
    to the output of a module, on the way back from the loss; that of a weight.

    Args:
        model: what the loss is computed with; its gradients stay what they are.
        loss: of a batch, () with a graph.
        batch: on the device of the model.

    Returns:
        None when all is finite.
    """
    if weights := [name for name, p in model.named_parameters() if not p.isfinite().all()]:
        return Finding(f"the weight {_some(weights)} is not finite before the step", [])
    # What is compiled does not call hooks.
    with (
        torch.compiler.set_stance("force_eager"),
        _hooks(model, len(batch.rows)) as (outputs, gradients),
        torch.enable_grad(),
    ):
        value = loss(batch)
        if outputs.found:
            return outputs.found[0]
        if not value.isfinite():
            rows = _alone(loss, batch)
            return next(iter(outputs.masks), Finding("the loss is not finite, although each module's output is", rows))
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        found_gradients = torch.autograd.grad(value, list(trained.values()), allow_unused=True)
    if gradients.found or gradients.masks:
        return [*gradients.found, *gradients.masks][0]
    named = zip(trained, found_gradients, strict=True)
    bad = [name for name, gradient in named if gradient is not None and not gradient.isfinite().all()]
    return Finding(f"the gradient of the weight {_some(bad)} is not finite", []) if bad else None


class _Seen:
    """Tensors in the order of their computation, as far as they are not finite; with minus infinities alone, ``masks``.

    These may be as they should, so they count only where a loss is not finite and there is nothing else.
    """

    def __init__(self, what: str, batch_size: int) -> None:
        self.what = what
        self.batch_size = batch_size
        self.found: list[Finding] = []
        self.masks: list[Finding] = []

    def look(self, name: str, x: Tensor) -> None:
        """Once something was found, nothing that follows is of interest."""
        if self.found or (finite := x.isfinite()).all():
            return
        by_row = x.ndim > 1 and len(x) == self.batch_size
        rows = (~finite).flatten(1).any(1).nonzero().flatten().tolist() if by_row else []
        found = Finding(self.what.format(name), rows)
        (self.masks if (x[~finite] == -torch.inf).all() else self.found).append(found)


@contextmanager
def _hooks(model: nn.Module, batch_size: int) -> Iterator[tuple[_Seen, _Seen]]:
    """Looks at what each module gives, and at the gradients with respect to it."""
    outputs = _Seen("the output of {} is not finite", batch_size)
    gradients = _Seen("the gradient at the output of {} is not finite, although the loss is", batch_size)

    def seen(module: nn.Module, inputs: Any, output: Any, *, name: str) -> None:
        for x in pytree.tree_leaves(output):
            if isinstance(x, Tensor) and x.is_floating_point():
                outputs.look(name, x.detach())
                if x.requires_grad:
                    x.register_hook(partial(gradients.look, name))  # type: ignore[no-untyped-call]

    handles = [m.register_forward_hook(partial(seen, name=name or "the network")) for name, m in model.named_modules()]
    try:
        yield outputs, gradients
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def _alone(loss: Callable[[Batch], Tensor], batch: Batch) -> list[int]:
    """The rows whose loss is not finite when they are a batch of their own."""
    return [i for i in range(len(batch.rows)) if not loss(one_row(batch, i)).isfinite()]


def one_row(batch: Batch, row: int) -> Batch:
    """A sentence with the padding that it had."""
    rows = {name: x[row : row + 1] for name, x in batch._asdict().items() if x is not None and x.ndim}
    return batch._replace(**rows)


def _some(names: Sequence[str]) -> str:
    return names[0] + (f" (and {len(names) - 1} more)" if len(names) > 1 else "")
