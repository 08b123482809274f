"""Searches under rules in plain Python: one sentence, one hypothesis after the other."""

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import torch

from s2s_lightning import BOS, EOS
from s2s_lightning.decoding import Hypothesis
from tests.decoding.fakes import padded

Words = tuple[int, ...]


class Book(NamedTuple):
    """The rules, once more."""

    prefix: Words = ()
    ngram: int = 0
    penalty: float = 1.0
    bad: tuple[Words, ...] = ()
    shortest: int = 0
    longest: int = 5

    @property
    def limit(self) -> int:
        return max(self.longest, len(self.prefix))


class Found(NamedTuple):
    """An output, with EOS if it ends."""

    emitted: Words
    log_prob: float = 0.0
    total: float = 0.0

    def then(self, token: int, log_prob: float, score: float) -> "Found":
        return Found((*self.emitted, token), self.log_prob + log_prob, self.total + score)

    def hypothesis(self, score: float | None = None) -> Hypothesis:
        finished = self.emitted[-1] == EOS
        tokens = list(self.emitted[: len(self.emitted) - finished])
        return Hypothesis(tokens, self.log_prob, self.total if score is None else score, finished)


@cache
def following(model: Any, src: Words, emitted: Words) -> list[float]:
    """The log-probability of each token after those emitted."""
    with torch.no_grad():
        state = model.start(*padded([src]))
        for token in (BOS, *emitted):
            step = model.step(torch.tensor([[token]]), state)
            state = step.state
    row: list[float] = step.log_probs[0, 0].tolist()
    return row


def breaks(words: Words, book: Book) -> bool:
    """Whether the last word makes an n-gram that was there before, or ends a bad one."""
    grams = [words[start : start + book.ngram] for start in range(len(words) - book.ngram + 1)]
    repeats = book.ngram > 0 and bool(grams) and grams[-1] in grams[:-1]
    return repeats or any(words[len(words) - len(bad) :] == bad for bad in book.bad if len(bad) <= len(words))


def options(model: Any, src: Sequence[int], found: Found, book: Book) -> list[Found]:
    """What may follow."""
    row, said = following(model, tuple(src), found.emitted), found.emitted
    if len(said) < len(book.prefix):
        token = book.prefix[len(said)]
        return [found.then(token, row[token], row[token])]
    possible = [token for token in range(EOS + 1, len(row)) if row[token] > -math.inf]
    words = [token for token in possible if not breaks((*said, token), book)]
    going = [found.then(w, row[w], row[w] * (book.penalty if w in said else 1.0)) for w in words]
    may_end = len(said) + 1 >= book.shortest or not words
    return [*going, found.then(EOS, row[EOS], row[EOS])] if may_end else going


def every_output(model: Any, src: Sequence[int], book: Book) -> list[Found]:
    """All that the rules allow."""
    ended: list[Found] = []
    live = [Found(())]
    for _ in range(book.limit):
        candidates = [option for found in live for option in options(model, src, found, book)]
        ended += [found for found in candidates if found.emitted[-1] == EOS]
        live = [found for found in candidates if found.emitted[-1] != EOS]
    return ended + live


def beam(model: Any, src: Sequence[int], book: Book, width: int) -> list[Found]:
    """What a beam search comes across that never stops before the maximum length."""
    (ended,) = diverse_beam(model, src, book, (1, width, 0.0))
    return ended


def diverse_beam(model: Any, src: Sequence[int], book: Book, groups: tuple[int, int, float]) -> list[list[Found]]:
    """The same for each of some groups of a width, with Hamming diversity of a strength."""
    count, width, strength = groups
    ended: list[list[Found]] = [[] for _ in range(count)]
    live = [[Found(())] for _ in range(count)]
    for _ in range(book.limit):
        said: list[int] = []
        for group in range(count):
            candidates = [option for found in live[group] for option in options(model, src, found, book)]
            going = [found for found in candidates if found.emitted[-1] != EOS]
            unlike = _key(said, strength)
            live[group] = sorted(going, key=unlike, reverse=True)[:width]
            ends = [found for found in candidates if found.emitted[-1] == EOS]
            rivals = sorted([*live[group], *ends], key=lambda found: found.total, reverse=True)[:width]
            ended[group] += [found for found in ends if found in rivals]
            said += [found.emitted[-1] for found in live[group]]
    return [[*one, *other] for one, other in zip(ended, live, strict=True)]


def _key(said: Sequence[int], strength: float) -> Callable[[Found], float]:
    before = tuple(said)
    return lambda found: found.total - strength * before.count(found.emitted[-1])


def best(found: Sequence[Found], score: Callable[[Found], float] = lambda f: f.total) -> list[Hypothesis]:
    """As hypotheses, best first."""
    return sorted((f.hypothesis(score(f)) for f in found), key=lambda h: -h.score)
