"""Beam search.

Shape letters: R sentences still searched, W live hypotheses of each (1 at first, then the beam's width), t tokens of
each so far, BOS the first, V vocabulary, n the best that ended.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from s2s_lightning import BOS, EOS, PAD
from s2s_lightning.decoding.constraints import Phrases
from s2s_lightning.decoding.coverage_penalty import Coverage, attention_over
from s2s_lightning.decoding.finished_hypotheses import Ended, collect
from s2s_lightning.decoding.length_penalty import LengthPenalty, NoPenalty
from s2s_lightning.decoding.rules import Ruled, Rules, ruled
from s2s_lightning.decoding.search import Demands, Hypothesis, Network
from s2s_lightning.decoding.top_k import top_k
from s2s_lightning.errors import UserError, check_at_least
from s2s_lightning.model import State, Step, branch, reorder, tree_map


class Sentences(NamedTuple):
    """State of the search of each sentence.

    Attributes:
        rules: of each, (R, ...).
        tokens: (R, W, t), the live hypotheses, best first.
        log_prob: (R, W), the model's own.
        total: (R, W), the sum of the ruled scores, which falls with every token; -inf for those that are dead.
        coverage: of the live hypotheses, if it counts.
        best: the n best that ended.
        ended: (R,), how many ended.
        phrases: what the live hypotheses have said of what they must, if anything is asked for.
    """

    rules: Rules
    tokens: Tensor
    log_prob: Tensor
    total: Tensor
    coverage: Coverage | None
    best: Ended
    ended: Tensor
    phrases: Phrases | None = None

    def take(self, index: Tensor) -> "Sentences":
        """The sentences ``index``."""
        sentences: Sentences = tree_map(lambda x: x.index_select(0, index), self)
        return sentences


class Scores(NamedTuple):
    """Scores of the tokens that may follow each live hypothesis: (R, W, V), by the model itself and as it is ranked."""

    log_probs: Tensor
    ruled: Tensor


class Going(NamedTuple):
    """The hypotheses that go on, best first.

    Attributes:
        parent: (R, W'), the hypothesis that each goes on from.
        token: (R, W'), its next token.
        total: (R, W'), with that token.
        best_word: (R, W), the ruled score of the best word after each that was live.
    """

    parent: Tensor
    token: Tensor
    total: Tensor
    best_word: Tensor


class Beam(Ruled):
    """Beam search, with exact stopping unless ``patience`` says otherwise.

    At each step those of a sentence's ``beam_size`` best continuations that are EOS end, and the ``beam_size`` best
    others go on. A sentence is over when no live hypothesis can still beat its n-th best that ended, or at its maximum
    length. There the live ones are cut and compete with those that ended, by the score of their own tokens.

    Args:
        beam_size: live hypotheses of a sentence; 1 without a length penalty is greedy search.
        n_best: hypotheses returned for a sentence, at most ``beam_size``.
        length_penalty: what the log-probability is divided by to make the score; nothing, if not given.
        patience: a sentence is also over when patience * beam_size hypotheses ended, though a live one might still win
            (Kasai et al., 2022, arXiv:2204.05424). 1 is what most toolkits do; .inf, the default, waits for the best.
        coverage_penalty: beta of coverage, which is added to the score of what has ended: beta * sum over the source of
            log min(1, attention it got in all), of the mean of all layers and heads (Wu et al., 2016, 7).

    Raises:
        UserError: n_best is not between 1 and beam_size, a negative penalty, or a patience that is not above 0.
    """

    def __init__(
        self,
        beam_size: int = 5,
        *,
        n_best: int = 1,
        length_penalty: LengthPenalty | None = None,
        patience: float = math.inf,
        coverage_penalty: float = 0.0,
        **limits: Any,
    ) -> None:
        super().__init__(**limits)
        check_at_least(0, coverage_penalty=coverage_penalty)
        if not 1 <= n_best <= beam_size:
            raise UserError(f"n_best {n_best} must be from 1 to beam_size {beam_size}: lower it or widen the beam")
        self.beam_size = beam_size
        self.n_best = self.num_outputs = n_best
        self.length_penalty = length_penalty or NoPenalty()
        if not patience > 0:
            raise UserError(f"patience {patience} must be above 0: .inf stops when nothing live can win, 1 sooner")
        self.enough = max(patience * beam_size, n_best)
        self.coverage_penalty = coverage_penalty

    @torch.no_grad()
    def __call__(
        self,
        model: Network,
        src: Tensor,
        src_padding: Tensor,
        src_copy: Tensor | None = None,
        demands: Demands = Demands(),
    ) -> list[list[Hypothesis]]:
        state = model.start(src, src_padding, src_copy)  # one row a sentence: the beam opens at the first step
        sentences = self._begin(src_padding, demands)
        ended: list[Ended] = []
        while len(sentences.tokens) > 0:
            last = sentences.tokens[..., -1].reshape(-1, 1)
            step = model.step(last, state, sentences.coverage is not None)
            sentences = self._cover(sentences, step)
            shape = (*sentences.total.shape, -1)
            ranked = ruled(step.ranked().view(shape), sentences.tokens, sentences.rules, self.manners)
            scores = Scores(step.log_probs.view(shape), ranked)
            going = self._expand(sentences, scores)
            sentences = self._advance(self._end(sentences, scores, going), scores, going)
            over = self._over(sentences)
            stay = (~over).nonzero().squeeze(1)  # waits for the device; what else does finds it idle
            state = _follow(step.state, going.parent, shape[1], stay)
            if len(stay) < len(over):
                ended.append(sentences.take(over.nonzero().squeeze(1)).best)
                sentences = sentences.take(stay)
        return collect(ended)

    def _begin(self, src_padding: Tensor, demands: Demands) -> Sentences:
        rules = self.rules(src_padding, demands)
        place = torch.arange(len(src_padding), device=src_padding.device)
        none = torch.full((len(place), self.n_best), -torch.inf, device=place.device)
        best = Ended(place, place.new_empty(len(place), self.n_best, 0), none, none)
        tokens = torch.full_like(place, BOS).view(-1, 1, 1)
        zero = torch.zeros_like(tokens[..., 0])
        coverage = Coverage.begin(src_padding) if self.coverage_penalty else None
        return Sentences(rules, tokens, zero, zero, coverage, best, torch.zeros_like(place))

    def _cover(self, sentences: Sentences, step: Step) -> Sentences:
        """Add the attention of this step, which is that of all that follows a hypothesis."""
        if sentences.coverage is None:
            return sentences
        return sentences._replace(coverage=sentences.coverage.add(attention_over(step, sentences.total.shape)))

    def _expand(self, sentences: Sentences, scores: Scores) -> Going:
        """The best words that go on. PAD and BOS come before EOS, words after it."""
        words = top_k(scores.ruled[..., EOS + 1 :], self.beam_size)
        total = (sentences.total.unsqueeze(-1) + words.values).flatten(1)
        going = top_k(total, self.beam_size)
        token = words.indices.flatten(1).gather(1, going.indices) + EOS + 1
        return Going(going.indices // words.indices.shape[-1], token, going.values, words.values[..., 0])

    def _end(self, sentences: Sentences, scores: Scores, going: Going) -> Sentences:
        """Rank those of the ``beam_size`` best continuations that are EOS with those that ended before."""
        length = sentences.tokens.shape[-1]
        may_end = sentences.rules.may_end(length, going.best_word)
        total = (sentences.total + scores.ruled[..., EOS]).masked_fill(~may_end, -torch.inf)
        worst = top_k(torch.cat([going.total, total], 1), self.beam_size).values[:, -1:]
        closed = torch.nn.functional.pad(sentences.tokens, (0, 1), value=EOS)
        log_prob = sentences.log_prob + scores.log_probs[..., EOS]
        return self._rank(sentences, closed, log_prob, total.masked_fill(total < worst, -torch.inf))

    def _advance(self, sentences: Sentences, scores: Scores, going: Going) -> Sentences:
        """The others are live; those at their maximum length are cut, and ranked too."""
        index = going.parent * scores.log_probs.shape[-1] + going.token
        log_prob = sentences.log_prob.gather(1, going.parent) + scores.log_probs.flatten(1).gather(1, index)
        tokens = torch.cat([_rows(sentences.tokens, going.parent), going.token.unsqueeze(-1)], -1)
        coverage = sentences.coverage and sentences.coverage.follow(going.parent)
        live = sentences._replace(tokens=tokens, log_prob=log_prob, total=going.total, coverage=coverage)
        at_limit = live.rules.at_limit(tokens.shape[-1] - 1)
        cut = going.total.masked_fill(~at_limit.unsqueeze(1), -torch.inf)
        return self._rank(live, tokens, log_prob, cut)

    def _rank(self, sentences: Sentences, tokens: Tensor, log_prob: Tensor, total: Tensor) -> Sentences:
        """The n best of those that ended before and of tokens (R, k, t), whose total is -inf if they have not ended."""
        length = torch.full_like(sentences.best.place, tokens.shape[-1] - 1)
        score = self.length_penalty.score(total, length)
        if sentences.coverage is not None:
            score = score + self.coverage_penalty * sentences.coverage.penalty()
        return sentences._replace(
            best=_merge(sentences.best, Ended(sentences.best.place, tokens[..., 1:], log_prob, score)),
            ended=sentences.ended + (total > -torch.inf).sum(1),
        )

    def _over(self, sentences: Sentences) -> Tensor:
        """(R,) True where enough ended, or nothing live can still beat the n-th best: coverage may become complete."""
        hope = self.length_penalty.score(sentences.total[:, 0], sentences.rules.limits.longest)
        beats = hope > sentences.best.score[:, -1]  # NaN does not: the search of a diverged network is short
        return ~beats | (sentences.ended >= self.enough) | sentences.rules.at_limit(sentences.tokens.shape[-1] - 1)


def _rows(x: Tensor, index: Tensor) -> Tensor:
    """Return the rows of index (R, k) of each sentence: x (R, W, t) -> (R, k, t)."""
    return x.gather(1, index.unsqueeze(-1).expand(-1, -1, x.shape[-1]))


def _merge(old: Ended, new: Ended) -> Ended:
    """The n best of both, where old has n; new is as long or longer."""
    longer = new.tokens.shape[-1] - old.tokens.shape[-1]
    tokens = torch.cat([torch.nn.functional.pad(old.tokens, (0, longer), value=PAD), new.tokens], 1)
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
        return branch(state, rows, stay)
    identity = torch.arange(len(rows), device=rows.device)  # of one sentence at 1 step in 8, of 100 at once hardly ever
    return state if torch.equal(rows, identity) else reorder(state, rows)
