"""Beam search.

Shape letters: R sentences still searched, W live hypotheses of each (1 at first, then the beam's width), t tokens of
each so far, BOS the first, V vocabulary, n the best that ended.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from s2s_lightning import BOS, EOS, PAD
from s2s_lightning.architecture import Seq2Seq, State, reorder, select, tree_map
from s2s_lightning.decoding.base import Hypothesis
from s2s_lightning.decoding.ended import Ended, collect
from s2s_lightning.decoding.length_penalty import LengthPenalty, NoPenalty
from s2s_lightning.decoding.limits import LengthLimited, Limits
from s2s_lightning.decoding.top_k import top_k
from s2s_lightning.errors import UserError


class _Sentences(NamedTuple):
    """What the search knows of each sentence.

    Attributes:
        limits: (R,).
        tokens: (R, W, t), the live hypotheses, best first.
        log_prob: (R, W).
        best: the n best that ended.
    """

    limits: Limits
    tokens: Tensor
    log_prob: Tensor
    best: Ended

    def take(self, index: Tensor) -> "_Sentences":
        """The sentences ``index``."""
        sentences: _Sentences = tree_map(lambda x: x.index_select(0, index), self)
        return sentences


class _Expansion(NamedTuple):
    """What one step makes of the live hypotheses.

    Attributes:
        parent: (R, W'), the hypothesis that each goes on from.
        tokens: (R, W', t + 1), those that go on, best first.
        log_prob: (R, W').
        ending: (R, W), log_prob with EOS of the hypotheses that end here, -inf for the others.
    """

    parent: Tensor
    tokens: Tensor
    log_prob: Tensor
    ending: Tensor


class Beam(LengthLimited):
    """Beam search with exact stopping.

    At each step those of a sentence's ``beam_size`` best continuations that are EOS end, and the ``beam_size`` best
    others go on. A sentence is over when no live hypothesis can still beat its n-th best that ended, or at its maximum
    length, where the live ones are cut and compete with those that ended.

    Args:
        beam_size: live hypotheses of a sentence; 1 without a length penalty is greedy search.
        n_best: hypotheses returned for a sentence, at most ``beam_size``.
        length_penalty: what the log-probability is divided by to make the score; nothing, if not given.

    Raises:
        UserError: n_best is not between 1 and beam_size.
    """

    def __init__(
        self, beam_size: int = 5, *, n_best: int = 1, length_penalty: LengthPenalty | None = None, **limits: Any
    ) -> None:
        super().__init__(**limits)
        if not 1 <= n_best <= beam_size:
            raise UserError(f"n_best {n_best} must be from 1 to beam_size {beam_size}: lower it or widen the beam")
        self.beam_size = beam_size
        self.n_best = n_best
        self.length_penalty = length_penalty or NoPenalty()

    @torch.no_grad()
    def __call__(
        self, model: Seq2Seq, src: Tensor, src_padding: Tensor, src_copy: Tensor | None = None
    ) -> list[list[Hypothesis]]:
        state = model.start(src, src_padding, src_copy)  # one row a sentence: the beam opens at the first step
        sentences = self._begin(self.limits(src_padding))
        ended: list[Ended] = []
        while len(sentences.tokens) > 0:
            step = model.step(sentences.tokens[..., -1].reshape(-1, 1), state)
            log_probs = step.log_probs.view(*sentences.log_prob.shape, -1)
            expansion = self._expand(sentences, log_probs)
            sentences = self._advance(sentences, expansion)
            over = self._over(sentences)
            stay = (~over).nonzero().squeeze(1)  # waits for the device; what else does finds it idle
            state = _follow(step.state, expansion.parent, log_probs.shape[1], stay)
            if len(stay) < len(over):
                ended.append(sentences.take(over.nonzero().squeeze(1)).best)
                sentences = sentences.take(stay)
        return collect(ended)

    def _begin(self, limits: Limits) -> _Sentences:
        place = torch.arange(len(limits.longest), device=limits.longest.device)
        none = torch.full((len(place), self.n_best), -torch.inf, device=place.device)
        best = Ended(place, place.new_empty(len(place), self.n_best, 0), none, none)
        tokens = torch.full_like(place, BOS).view(-1, 1, 1)
        return _Sentences(limits, tokens, torch.zeros_like(tokens[..., 0]), best)

    def _expand(self, sentences: _Sentences, log_probs: Tensor) -> _Expansion:
        """The best continuations by log_probs (R, W, V). PAD and BOS come before EOS, words after it."""
        words = top_k(log_probs[..., EOS + 1 :], self.beam_size)
        going = top_k((sentences.log_prob.unsqueeze(-1) + words.values).flatten(1), self.beam_size)
        parent = going.indices // words.indices.shape[-1]
        token = words.indices.flatten(1).gather(1, going.indices) + EOS + 1
        tokens = torch.cat([_rows(sentences.tokens, parent), token.unsqueeze(-1)], -1)
        too_short = sentences.tokens.shape[-1] < sentences.limits.shortest
        ending = (sentences.log_prob + log_probs[..., EOS]).masked_fill(too_short.unsqueeze(1), -torch.inf)
        worst = top_k(torch.cat([going.values, ending], 1), self.beam_size).values[:, -1:]
        return _Expansion(parent, tokens, going.values, ending.masked_fill(ending < worst, -torch.inf))

    def _advance(self, sentences: _Sentences, expansion: _Expansion) -> _Sentences:
        """Those that end are ranked with those that ended before; the others are live."""
        length = torch.full_like(sentences.limits.longest, sentences.tokens.shape[-1])
        at_limit = length >= sentences.limits.longest
        cut = expansion.log_prob.masked_fill(~at_limit.unsqueeze(1), -torch.inf)
        log_prob = torch.cat([expansion.ending, cut], 1)
        closed = torch.nn.functional.pad(sentences.tokens, (0, 1), value=EOS)
        tokens = torch.cat([closed, expansion.tokens], 1)[..., 1:]
        score = self.length_penalty.score(log_prob, length)
        best = _merge(sentences.best, Ended(sentences.best.place, tokens, log_prob, score))
        return _Sentences(sentences.limits, expansion.tokens, expansion.log_prob, best)

    def _over(self, sentences: _Sentences) -> Tensor:
        """(R,) True where no live hypothesis can still beat the n-th best that ended."""
        longest = sentences.limits.longest
        hope = self.length_penalty.score(sentences.log_prob[:, 0], longest)
        beats = hope > sentences.best.score[:, -1]  # NaN does not: the search of a diverged network is short
        return ~beats | (sentences.tokens.shape[-1] > longest)


def _rows(x: Tensor, index: Tensor) -> Tensor:
    """Of each sentence those of index (R, k): x (R, W, t) -> (R, k, t)."""
    return x.gather(1, index.unsqueeze(-1).expand(-1, -1, x.shape[-1]))


def _merge(old: Ended, new: Ended) -> Ended:
    """The n best of both, where old has n; new is one token longer."""
    tokens = torch.cat([torch.nn.functional.pad(old.tokens, (0, 1), value=PAD), new.tokens], 1)
    score, index = torch.cat([old.score, new.score], 1).topk(old.score.shape[1])
    log_prob = torch.cat([old.log_prob, new.log_prob], 1).gather(1, index)
    return Ended(old.place, _rows(tokens, index), log_prob, score)


def _follow(state: State, parent: Tensor, width: int, stay: Tensor) -> State:
    """The state of the hypotheses that go on in the sentences that stay.

    Args:
        state: of the R * width hypotheses before.
        parent: (R, W').
        width: W.
        stay: those of the R sentences that are not over.
    """
    first = torch.arange(len(parent), device=parent.device) * width
    rows = (first.unsqueeze(1) + parent).index_select(0, stay).flatten()
    if len(stay) < len(parent) or parent.shape[1] != width:
        return select(state, rows)
    identity = torch.arange(len(rows), device=rows.device)
    return state if torch.equal(rows, identity) else reorder(state, rows)
