"""Taps for gradients through time: the state of a recurrence after each of its steps, for diagnostics.

A fused kernel hands out its outputs alone, and the gradient with respect to an output misses what passes from state to
state. So, while somebody watches, a recurrence runs step by step and adds zeros to its state after each step: the
gradient of these zeros is dL/dh_t with all that follows from h_t in it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from s2s_lightning.nn.key_value_cache import Cache


class Trace:
    """The zeros of one recurrence: a list a step, in the order of its reading."""

    def __init__(self) -> None:
        self.zeros: list[list[Tensor]] = []

    def __call__(self, state: Any) -> Any:
        """The state after a step, a tensor or a tree of them, with zeros added to what recurs in it.

        Nothing recurs in a key/value cache, nor in integers such as positions.
        """
        zeros: list[Tensor] = []
        self.zeros.append(zeros)

        def add(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor) or not leaf.is_floating_point():
                return leaf
            zeros.append(torch.zeros_like(leaf).requires_grad_())
            return leaf + zeros[-1]

        return pytree.tree_map(add, state, is_leaf=lambda node: isinstance(node, Cache))


_watching: list[list[Trace]] = []


@contextmanager
def watched() -> Iterator[list[Trace]]:
    """Let each recurrence append a trace while the context lasts."""
    _watching.append([])
    try:
        yield _watching[-1]
    finally:
        _watching.pop()


def is_watched() -> bool:
    """True if a recurrence has to run step by step."""
    return bool(_watching)


def new_trace() -> Trace | None:
    """Return the trace of a recurrence that begins; None if gradients are not watched."""
    if not _watching:
        return None
    _watching[-1].append(Trace())
    return _watching[-1][-1]
