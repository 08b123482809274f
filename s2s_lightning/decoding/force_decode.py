"""Force-decoding: what a model says of outputs that are given, and what it looked at."""

from typing import NamedTuple

import torch
from torch import Tensor

from s2s_lightning.decoding import Network
from s2s_lightning.errors import UserError
from s2s_lightning.model import Batch

PIECE = 16
"""Target positions of a call, so that the (B, T, V) scores never exist whole."""


class Forced(NamedTuple):
    """Scores of the target of a batch.

    Attributes:
        log_probs: (B, T) of each token; what stands at padding means nothing.
        attention: (B, layers, heads, T, S) with which each was emitted; None if not asked for, or if there is none.
    """

    log_probs: Tensor
    attention: Tensor | None


class Focus(NamedTuple):
    """Choice of an attention: a layer and a head, counted from 0 (-1 is the last), or the mean of all."""

    layer: int | None = None
    head: int | None = None

    def reduce(self, weights: Tensor) -> Tensor:
        """(layers, heads, T, S) -> (T, S)."""
        of_layer = weights.mean(0) if self.layer is None else weights[self.layer]
        return of_layer.mean(0) if self.head is None else of_layer[self.head]

    def check(self, weights: Tensor, options: str = "--") -> None:
        """Raises UserError for a layer or head that weights (layers, heads, T, S) have not; ``options`` begin so."""
        for name, place, count in zip(self._fields, self, weights.shape[:2], strict=True):
            if place is not None and not -count <= place < count:
                raise UserError(
                    f"{options}{name}={place}: the decoder has {count}, counted from 0; leave it out for the mean"
                )


def force(network: Network, batch: Batch, need_weights: bool = False) -> Forced:
    """One force-decoding of the batch's targets behind its sources."""
    state = network.start(batch.src, batch.src_padding, batch.src_copy)
    log_probs, attention = [], []
    for tgt_in, tgt_out in zip(*(torch.split(ids, PIECE, 1) for ids in (batch.tgt_in, batch.tgt_out)), strict=True):
        step = network.step(tgt_in, state, need_weights)
        log_probs.append(step.log_probs.gather(-1, tgt_out.unsqueeze(-1)).squeeze(-1))
        attention.append(step.attention)
        state = step.state
    whole = [weights for weights in attention if weights is not None]
    return Forced(torch.cat(log_probs, 1), torch.cat(whole, -2) if need_weights and whole else None)
