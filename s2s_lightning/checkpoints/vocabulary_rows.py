"""Rows of embeddings and readout that go to the same symbol of another vocabulary."""

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from s2s_lightning.data.tokenizers.tokenizer import SPECIALS, Tokenizer
from s2s_lightning.data.vocabularies import Tokenizers

Side = Literal["src", "tgt"]


class Move(NamedTuple):
    """Rows of a checkpoint's vocabulary that go to rows of ours, the special ids among them.

    Attributes:
        old: (n,), rows of the checkpoint.
        new: (n,), where each goes.
        old_size: ids of the checkpoint's vocabulary.
        new_size: ids of ours.
    """

    old: Tensor
    new: Tensor
    old_size: int
    new_size: int

    def concerns(self, old: Tensor, new: Tensor) -> bool:
        """True if these two tensors have a row for each symbol."""
        return (len(old), len(new)) == (self.old_size, self.new_size)

    def __str__(self) -> str:
        kept = len(self.new) - len(SPECIALS)
        fresh, left = self.new_size - len(self.new), self.old_size - len(self.old)
        return (
            f"{kept:,} symbols keep their rows, {fresh:,} are new and stay at their initialisation, "
            f"{left:,} of the checkpoint are left out"
        )


Moves = dict[Side, Move | None]
"""None where both vocabularies are the same."""


def moves_between(theirs: Tokenizers, ours: Tokenizers) -> Moves:
    """Return the moves of both sides."""
    return {"src": _move(theirs.src, ours.src), "tgt": _move(theirs.target, ours.target)}


def _move(theirs: Tokenizer, ours: Tokenizer) -> Move | None:
    old, new = theirs.identities(), ours.identities()
    if old == new:
        return None
    first = len(SPECIALS)
    places = {symbol: row for row, symbol in reversed(list(enumerate(old[first:], first)))}
    pairs = [(places[symbol], row) for row, symbol in enumerate(new[first:], first) if symbol in places]
    rows = torch.tensor([*((i, i) for i in range(first)), *pairs])
    return Move(rows[:, 0], rows[:, 1], len(old), len(new))


@torch.no_grad()
def move_rows(own: Mapping[str, Tensor], state: Mapping[str, Tensor], moves: Mapping[str, Move]) -> set[str]:
    """Copy the rows of ``state`` to the same symbols of ``own``, in place.

    Args:
        own: the parameters of the new model by name.
        state: those of the checkpoint.
        moves: of each parameter with a row for each symbol.

    Returns:
        The names of the parameters whose rows were moved: those that are equally wide.
    """
    moved = {name for name in moves if own[name].shape[1:] == state[name].shape[1:]}
    for name in moves:
        if name in moved:
            own[name][moves[name].new] = state[name][moves[name].old].to(own[name])
    return moved


def lines(moves: Moves, joint: bool) -> Iterator[str]:
    """Yield a line for each vocabulary that is another one."""
    for side, move in moves.items():
        if move is not None and not (joint and side == "tgt"):
            yield f"{'joint' if joint else side} vocabulary is another one: {move}"
