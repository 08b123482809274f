"""Rules of an output: its length, its beginning, its repetitions, its bad words.

Shape letters: R sentences (or rows, of searches with one output a row), W hypotheses of each, t tokens of each so far,
BOS the first, V vocabulary, P tokens of the longest prefix.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from s2s_lightning import PAD
from s2s_lightning.decoding.bad_words import BadWords
from s2s_lightning.decoding.limits import LengthLimited, Limits
from s2s_lightning.decoding.search import Demands, Tools
from s2s_lightning.errors import UserError, check_at_least


class Manners(NamedTuple):
    """Rules that hold for every output alike.

    Attributes:
        no_repeat_ngram: no n-gram of this length occurs twice; 0 allows all.
        repetition_penalty: what the log-probability of a token is multiplied by once the output contains it.
        bad_words: texts that no output contains; None allows all.
    """

    no_repeat_ngram: int = 0
    repetition_penalty: float = 1.0
    bad_words: BadWords | None = None

    @property
    def idle(self) -> bool:
        """True if they allow everything."""
        return self == Manners()


class Rules(NamedTuple):
    """Rules of each sentence or row, (R, ...).

    Attributes:
        limits: of the length.
        prefix: (R, P) what the output begins with, PAD after it; P is 0 when nothing is asked for.
    """

    limits: Limits
    prefix: Tensor

    def may_end(self, length: int, best_word: Tensor) -> Tensor:
        """(R, ...) True where the next token may be EOS, after ``length`` tokens with BOS.

        Within a prefix it need not be asked: the score of EOS is -inf there.

        Args:
            length: t.
            best_word: (R, ...) the ruled score of the best other token; where it is -inf the rules leave nothing else.
        """
        may = length >= self.limits.shortest
        return may.view(-1, *[1] * (best_word.ndim - 1)) | (best_word == -torch.inf)

    def at_limit(self, length: int) -> Tensor:
        """(R,) True where ``length`` emitted tokens are as many as may be."""
        return length >= self.limits.longest


def ruled(scores: Tensor, tokens: Tensor, rules: Rules, manners: Manners) -> Tensor:
    """Scores (R, W, V) of what follows tokens (R, W, t), -inf where a rule forbids it; the given ones if none does.

    A prefix goes before every other rule.
    """
    length, allowed = tokens.shape[-1], scores
    if not manners.idle:
        allowed = mannered(scores.flatten(0, 1).clone(), tokens.flatten(0, 1), manners).view_as(scores)
    if length > rules.prefix.shape[1]:
        return allowed
    wanted = rules.prefix[:, length - 1].view(-1, 1, 1)
    index = wanted.expand(-1, scores.shape[1], -1)
    forced = torch.full_like(scores, -torch.inf).scatter_(-1, index, scores.gather(-1, index))
    return torch.where(wanted == PAD, allowed, forced)


def mannered(scores: Tensor, tokens: Tensor, manners: Manners) -> Tensor:
    """Scores (N, V) of what follows tokens (N, t), changed in place."""
    if manners.repetition_penalty != 1.0:
        said = scores.gather(1, tokens)
        scores.scatter_(1, tokens, said * manners.repetition_penalty)
    if manners.no_repeat_ngram:
        forbid_repeated(scores, tokens, manners.no_repeat_ngram)
    if manners.bad_words is not None:
        manners.bad_words.forbid(scores, tokens)
    return scores


def forbid_repeated(scores: Tensor, tokens: Tensor, n: int) -> None:
    """Scores (N, V) of tokens that would end an n-gram that tokens (N, t) contain become -inf."""
    if tokens.shape[1] <= n:  # BOS is part of no n-gram
        return
    ngrams = tokens[:, 1:].unfold(1, n, 1)  # (N, t - n, n)
    begun = tokens[:, tokens.shape[1] - n + 1 :].unsqueeze(1)
    repeats = (ngrams[..., :-1] == begun).all(-1)  # (N, t - n)
    last = ngrams[..., -1]
    # one scatter for all: a token that ends several n-grams is forbidden if any of them repeats
    forbidden = torch.zeros_like(scores, dtype=torch.uint8).scatter_reduce_(1, last, repeats.byte(), "amax")
    scores.masked_fill_(forbidden.bool(), -torch.inf)


class Ruled(LengthLimited):
    """A search whose outputs are held to rules.

    What is ranked is the sum of the ruled log-probabilities; ``log_prob`` stays the model's own. Where the rules leave
    no other token, EOS is allowed, whatever the minimum length.

    Args:
        no_repeat_ngram: no n-gram of this many tokens occurs twice in an output (Paulus et al., 2018,
            arXiv:1705.04304); 0 allows it.
        repetition_penalty: what the log-probability of each token that the output contains already is multiplied by:
            above 1 it becomes less probable (Keskar et al., 2019, 4.1, arXiv:1909.05858, on logits); 1 changes nothing.
        bad_words: texts that no output contains, in whatever pieces; within words, too, but for one that begins with a
            space. Source words that a network copies are not looked at.

    Raises:
        UserError: a negative n-gram, a penalty that is not above 0, or an empty bad word.
    """

    def __init__(
        self,
        *,
        no_repeat_ngram: int = 0,
        repetition_penalty: float = 1.0,
        bad_words: Sequence[str] = (),
        **limits: Any,
    ) -> None:
        super().__init__(**limits)
        check_at_least(0, no_repeat_ngram=no_repeat_ngram)
        if not 0 < repetition_penalty < math.inf:
            raise UserError(
                f"repetition_penalty={repetition_penalty}: it must be above 0 and finite; 1 changes nothing"
            )
        if not all(word.strip() for word in bad_words):
            raise UserError(f"bad_words={list(bad_words)}: an empty text is in every output; leave it out")
        self.bad_words = tuple(bad_words)
        self.attached = not bad_words
        self.manners = Manners(no_repeat_ngram, repetition_penalty)

    def attach(self, tools: Tools) -> None:
        super().attach(tools)
        if self.bad_words:
            self.manners = self.manners._replace(bad_words=BadWords(self.bad_words, tools.decode))
        self.attached = True

    def rules(self, src_padding: Tensor, demands: Demands) -> Rules:
        """Return the rules of each sentence; src_padding (B, S), True at padding. A prefix is never cut, however long.

        Raises:
            UserError: phrases are asked for, of a search that does not heed them; or a prefix has a bad word.
        """
        if any(demands.phrases or []):
            raise UserError(
                f"{type(self).__name__} cannot make outputs contain phrases: take --decoding ConstrainedBeam"
            )
        assert self.attached, "attach() must come first: bad_words are text"
        limits = self.limits(src_padding)
        prefix = demands.prefix
        if prefix is None:
            prefix = limits.longest.new_full((len(src_padding), 0), PAD)
        if self.manners.bad_words is not None:
            for ids in prefix.tolist():
                self.manners.bad_words.refuse("prefix", [token for token in ids if token != PAD])
        longest = torch.maximum(limits.longest, (prefix != PAD).sum(1))
        return Rules(Limits(limits.shortest, longest), prefix)
