"""Greedy search. R rows: the sentences that have not ended, with t tokens so far, BOS the first."""

from typing import NamedTuple

import torch
from torch import Tensor

from s2s_lightning import BOS, EOS
from s2s_lightning.architecture import Seq2Seq, select, tree_map
from s2s_lightning.decoding.base import Hypothesis
from s2s_lightning.decoding.ended import Ended, collect
from s2s_lightning.decoding.limits import LengthLimited, Limits


class _Rows(NamedTuple):
    """Of each sentence: its place in the batch (R,), limits (R,), tokens (R, t) and their log_prob (R,)."""

    place: Tensor
    limits: Limits
    tokens: Tensor
    log_prob: Tensor

    def take(self, index: Tensor) -> "_Rows":
        """The rows ``index``."""
        rows: _Rows = tree_map(lambda x: x.index_select(0, index), self)
        return rows

    def ended(self) -> Ended:
        """All rows, as results."""
        log_prob = self.log_prob.unsqueeze(1)
        return Ended(self.place, self.tokens[:, 1:].unsqueeze(1), log_prob, log_prob)


class Greedy(LengthLimited):
    """The most probable token at each step; ``score`` is ``log_prob``."""

    @torch.no_grad()
    def __call__(
        self, model: Seq2Seq, src: Tensor, src_padding: Tensor, src_copy: Tensor | None = None
    ) -> list[list[Hypothesis]]:
        state = model.start(src, src_padding, src_copy)
        rows = _begin(self.limits(src_padding))
        ended: list[Ended] = []
        while len(rows.place) > 0:
            step = model.step(rows.tokens[:, -1:], state)
            rows, state = _extend(rows, step.log_probs[:, 0]), step.state
            over = _over(rows)
            stay = (~over).nonzero().squeeze(1)  # waits for the device; what else does finds it idle
            if len(stay) < len(over):
                ended.append(rows.take(over.nonzero().squeeze(1)).ended())
                rows, state = rows.take(stay), select(state, stay)
        return collect(ended)


def _begin(limits: Limits) -> _Rows:
    place = torch.arange(len(limits.longest), device=limits.longest.device)
    return _Rows(place, limits, torch.full_like(place, BOS).unsqueeze(1), torch.zeros_like(place))


def _extend(rows: _Rows, log_probs: Tensor) -> _Rows:
    """The best token for each row, by log_probs (R, V). PAD and BOS come before EOS, words after it."""
    ending = log_probs[:, EOS].masked_fill(rows.tokens.shape[1] < rows.limits.shortest, -torch.inf)
    words = log_probs[:, EOS + 1 :].max(1)
    token = torch.where(ending >= words.values, EOS, words.indices + EOS + 1)
    tokens = torch.cat([rows.tokens, token.unsqueeze(1)], 1)
    return rows._replace(tokens=tokens, log_prob=rows.log_prob + torch.maximum(ending, words.values))


def _over(rows: _Rows) -> Tensor:
    """(R,) True where EOS was emitted or the maximum length is reached."""
    return (rows.tokens[:, -1] == EOS) | (rows.tokens.shape[1] > rows.limits.longest)
