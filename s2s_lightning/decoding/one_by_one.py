"""Searches that go on with one output a row. R rows: those that have not ended, with t tokens so far, BOS the first."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from s2s_lightning import BOS, EOS
from s2s_lightning.architecture import Seq2Seq, State, select, tree_map
from s2s_lightning.decoding.base import Hypothesis
from s2s_lightning.decoding.ended import Ended, collect
from s2s_lightning.decoding.limits import Limits


class Rows(NamedTuple):
    """Of each row: its place in the batch (R,), limits (R,), tokens (R, t) and their log_prob (R,)."""

    place: Tensor
    limits: Limits
    tokens: Tensor
    log_prob: Tensor

    def take(self, index: Tensor) -> "Rows":
        """The rows ``index``."""
        rows: Rows = tree_map(lambda x: x.index_select(0, index), self)
        return rows

    def may_end(self) -> Tensor:
        """(R,) True where the next token may be EOS."""
        return self.tokens.shape[1] >= self.limits.shortest

    def over(self) -> Tensor:
        """(R,) True where EOS was emitted or the maximum length is reached."""
        return (self.tokens[:, -1] == EOS) | (self.tokens.shape[1] > self.limits.longest)

    def ended(self) -> Ended:
        """All rows, as results."""
        log_prob = self.log_prob.unsqueeze(1)
        return Ended(self.place, self.tokens[:, 1:].unsqueeze(1), log_prob, log_prob)


class Chosen(NamedTuple):
    """The next token of each row and its log-probability: two (R,) tensors."""

    token: Tensor
    log_prob: Tensor


Choose = Callable[[Tensor, Rows], Chosen]
"""From log_probs (R, V) and the rows so far."""


def one_by_one(model: Seq2Seq, state: State, limits: Limits, choose: Choose) -> list[list[Hypothesis]]:
    """One hypothesis for each row of the state, which leaves the batch when it has ended."""
    rows = _begin(limits)
    ended: list[Ended] = []
    while len(rows.place) > 0:
        step = model.step(rows.tokens[:, -1:], state)
        rows, state = _extend(rows, choose(step.log_probs[:, 0], rows)), step.state
        over = rows.over()
        stay = (~over).nonzero().squeeze(1)  # waits for the device; what else does finds it idle
        if len(stay) < len(over):
            ended.append(rows.take(over.nonzero().squeeze(1)).ended())
            rows, state = rows.take(stay), select(state, stay)
    return collect(ended)


def _begin(limits: Limits) -> Rows:
    place = torch.arange(len(limits.longest), device=limits.longest.device)
    return Rows(place, limits, torch.full_like(place, BOS).unsqueeze(1), torch.zeros_like(place))


def _extend(rows: Rows, chosen: Chosen) -> Rows:
    tokens = torch.cat([rows.tokens, chosen.token.unsqueeze(1)], 1)
    return rows._replace(tokens=tokens, log_prob=rows.log_prob + chosen.log_prob)
