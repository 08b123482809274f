"""The state of a decoder, and how its rows move: repeat, select, branch, reorder.

Shape letters: B batch, T target, K hypotheses of a sentence.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from s2s_lightning.nn.key_value_cache import Cache

Tree = Any
"""A tensor, None, or a tuple, list or dict of trees; the batch is dimension 0 of each tensor."""


class State(NamedTuple):
    """Parts that a decoder needs to continue. A call never changes the state it was given, so a state can be branched.

    Attributes:
        context: fixed from ``start`` on: projected keys and values, masks; what may be read by several hypotheses of a
            sentence at once stands in ``OfSentence``.
        carry: replaced by each call: hidden states, key/value cache, last inputs, position as a (B,) tensor.
    """

    context: Tree
    carry: Tree


class OfSentence(NamedTuple):
    """A part of a context with one row a sentence, also where each sentence has several rows of carry, its hypotheses.

    Who reads it takes the rows of carry of one sentence, which stand in sequence, for positions of one target:
    (B*K, T, D) is viewed as (B, K*T, D), and keys are read once a sentence and not once a hypothesis.

    Attributes:
        parts: the tree.
    """

    parts: Tree


Change = Callable[[Tensor], Tensor]


def tree_map(change: Callable[[Any], Any], tree: Tree, leaves: tuple[type, ...] = (Tensor,)) -> Tree:
    """Change each tensor of a nested state, or what else counts as a leaf; None stays None."""
    if tree is None:
        return None
    if isinstance(tree, leaves):
        return change(tree)
    if isinstance(tree, dict):
        return {key: tree_map(change, value, leaves) for key, value in tree.items()}
    parts = [tree_map(change, part, leaves) for part in tree]
    return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)


def _move(move: Change, tree: Tree, of_sentence: Change) -> Tree:
    """Move the rows of each tensor, those of a sentence by a function of their own; of a cache the index alone."""

    def moved(leaf: Any) -> Any:
        if isinstance(leaf, OfSentence):
            return tree_map(of_sentence, leaf)
        return leaf._replace(row=move(leaf.row)) if isinstance(leaf, Cache) else move(leaf)

    return tree_map(moved, tree, (Tensor, OfSentence, Cache))


def repeat(state: State, k: int) -> State:
    """Each row k times in sequence: (B, ...) -> (B*k, ...), for k hypotheses a sentence."""
    repeated = partial(torch.repeat_interleave, repeats=k, dim=0)
    return State(*(_move(repeated, part, repeated) for part in state))


def select(state: State, index: Tensor) -> State:
    """Keep the rows ``index``, context included: sentences leave the batch."""
    return branch(state, index, index)


def branch(state: State, index: Tensor, sentences: Tensor) -> State:
    """Go on with the rows ``index`` of the carry, equally many in sequence for each of the ``sentences``."""
    kept, of_sentence = (partial(torch.index_select, dim=0, index=rows) for rows in (index, sentences))
    return State(*(_move(kept, part, of_sentence) for part in state))


def reorder(state: State, index: Tensor) -> State:
    """Row i goes on from row ``index[i]`` of the same sentence: the carry moves, the context stays."""
    moved = partial(torch.index_select, dim=0, index=index)
    return State(state.context, _move(moved, state.carry, moved))
