"""Searches that go on with one output a row. R rows: those that have not ended, with t tokens so far, BOS the first."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from s2s_lightning import BOS, EOS
from s2s_lightning.decoding.finished_hypotheses import Ended, collect
from s2s_lightning.decoding.rules import Manners, Rules, ruled
from s2s_lightning.decoding.search import Hypothesis, Network
from s2s_lightning.model import State, select, tree_map


class Rows(NamedTuple):
    """State of each row: its place in the batch (R,), its rules, tokens (R, t), their log_prob and their score (R,)."""

    place: Tensor
    rules: Rules
    tokens: Tensor
    log_prob: Tensor
    score: Tensor

    def take(self, index: Tensor) -> "Rows":
        """The rows ``index``."""
        rows: Rows = tree_map(lambda x: x.index_select(0, index), self)
        return rows

    def may_end(self, best_word: Tensor) -> Tensor:
        """(R,) True where the next token may be EOS; best_word (R,) is the score of the best other one."""
        return self.rules.may_end(self.tokens.shape[1], best_word)

    def over(self) -> Tensor:
        """(R,) True where EOS was emitted or the maximum length is reached."""
        return (self.tokens[:, -1] == EOS) | self.rules.at_limit(self.tokens.shape[1] - 1)

    def ended(self) -> Ended:
        """Return all rows as results."""
        return Ended(self.place, self.tokens[:, 1:].unsqueeze(1), self.log_prob.unsqueeze(1), self.score.unsqueeze(1))


Choose = Callable[[Tensor, Rows], Tensor]
"""The next token (R,) of each row, from its ruled scores (R, V)."""


def one_by_one(
    model: Network, state: State, rules: Rules, choose: Choose, manners: Manners = Manners()
) -> list[list[Hypothesis]]:
    """One hypothesis for each row of the state, which leaves the batch when it has ended."""
    rows = _begin(rules)
    ended: list[Ended] = []
    while len(rows.place) > 0:
        step = model.step(rows.tokens[:, -1:], state)
        log_probs = step.log_probs[:, 0]
        scores = ruled(step.ranked(), rows.tokens.unsqueeze(1), rows.rules, manners)[:, 0]
        rows, state = _extend(rows, choose(scores, rows), log_probs, scores), step.state
        over = rows.over()
        stay = (~over).nonzero().squeeze(1)  # waits for the device; what else does finds it idle
        if len(stay) < len(over):
            ended.append(rows.take(over.nonzero().squeeze(1)).ended())
            rows, state = rows.take(stay), select(state, stay)
    return collect(ended)


def _begin(rules: Rules) -> Rows:
    place = torch.arange(len(rules.prefix), device=rules.prefix.device)
    zero = torch.zeros_like(place)
    return Rows(place, rules, torch.full_like(place, BOS).unsqueeze(1), zero, zero)


def _extend(rows: Rows, token: Tensor, log_probs: Tensor, scores: Tensor) -> Rows:
    token = token.unsqueeze(1)
    return rows._replace(
        tokens=torch.cat([rows.tokens, token], 1),
        log_prob=rows.log_prob + log_probs.gather(1, token).squeeze(1),
        score=rows.score + scores.gather(1, token).squeeze(1),
    )
