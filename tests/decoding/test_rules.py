"""Forced prefixes, n-grams, bad words and the repetition penalty against searches in plain Python."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from s2s_lightning import EOS, PAD
from s2s_lightning.decoding import Average, Beam, Decoding, Demands, Greedy, Hypothesis, Sampling, Tools
from s2s_lightning.errors import UserError
from tests.decoding import slow
from tests.decoding.fakes import Table, assert_same, padded, sources
from tests.decoding.slow import Book

MODEL = Table()

PREFIXES = [(4,), (), (3, 3, 5), (5, 4, 3, 3, 4, 5, 3, 4)]
"""Of unequal lengths; the last is longer than any output may be."""

LETTERS = {3: "c", 4: "a", 5: "b"}
"""The text of each word."""

BOOKS: dict[str, tuple[Book, dict[str, Any]]] = {
    "no word twice": (Book(ngram=1), {"no_repeat_ngram": 1}),
    "no pair twice": (Book(ngram=2), {"no_repeat_ngram": 2}),
    "no triple twice": (Book(ngram=3), {"no_repeat_ngram": 3}),
    "a bad word": (Book(bad=((4,),)), {"bad_words": ["a"]}),
    "bad words of several ids": (Book(bad=((3, 5), (5, 5, 3))), {"bad_words": ["cb", "bbc", "unwritable"]}),
    "penalty": (Book(penalty=1.5), {"repetition_penalty": 1.5}),
    "reward": (Book(penalty=0.5), {"repetition_penalty": 0.5}),
    "all, and a minimum": (
        Book(ngram=2, penalty=1.3, bad=((4,),), shortest=3),
        {"no_repeat_ngram": 2, "repetition_penalty": 1.3, "bad_words": ["a"], "min_length": 3},
    ),
    "dead ends": (Book(ngram=1, shortest=5), {"no_repeat_ngram": 1, "min_length": 5}),
    "nothing at all": (Book(bad=((3,), (4,), (5,)), shortest=3), {"bad_words": ["a", "b", "c"], "min_length": 3}),
}


def tools(**others: Any) -> Tools:
    refuse: Any = None
    return Tools(refuse, refuse, refuse, lambda ids: "".join(LETTERS.get(i, "") for i in ids))._replace(**others)


def made(search: Callable[..., Decoding], *args: int, **settings: Any) -> Decoding:
    """A search of five tokens at most, ready for use."""
    decoding = search(*args, max_length=5, max_length_ratio=9, **settings)
    decoding.attach(tools())
    return decoding


def prefixes(rows: list[tuple[int, ...]]) -> Demands:
    width = max(map(len, rows))
    return Demands(torch.tensor([[*row, *[PAD] * (width - len(row))] for row in rows]))


@pytest.fixture(params=BOOKS.values(), ids=BOOKS)
def rules(request: pytest.FixtureRequest) -> tuple[Book, dict[str, Any]]:
    """Each set of rules, in plain Python and as settings."""
    return request.param


def test_a_beam_as_wide_as_the_search_space_finds_the_best_that_the_rules_allow(
    rules: tuple[Book, dict[str, Any]],
) -> None:
    book, settings = rules
    rows, search = sources(2), made(Beam, 3**5, n_best=9, **settings)
    for row, found in zip(rows, search(MODEL, *padded(rows)), strict=True):
        assert_same(found, slow.best(slow.every_output(MODEL, row, book))[:9])


@pytest.mark.parametrize("width", [1, 3])
def test_stopping_early_changes_nothing_under_rules(rules: tuple[Book, dict[str, Any]], width: int) -> None:
    book, settings = rules
    rows, search = sources(4), made(Beam, width, n_best=width, length_penalty=Average(), **settings)
    for row, found in zip(rows, search(MODEL, *padded(rows)), strict=True):
        expected = slow.best(slow.beam(MODEL, row, book, width), lambda f: f.total / len(f.emitted))
        assert_same(found, expected[:width])


def test_greedy_search_takes_the_best_that_the_rules_allow_at_each_step(rules: tuple[Book, dict[str, Any]]) -> None:
    book, settings = rules
    rows = sources(6)
    for row, (found,) in zip(rows, made(Greedy, **settings)(MODEL, *padded(rows)), strict=True):
        said = slow.Found(())
        while len(said.emitted) < book.limit and said.emitted[-1:] != (EOS,):
            said = max(slow.options(MODEL, row, said, book), key=lambda option, t=said.total: option.total - t)
        assert_same([found], [said.hypothesis()])


def test_samples_keep_the_rules(rules: tuple[Book, dict[str, Any]]) -> None:
    book, settings = rules
    rows = sources(2)
    for row, samples in zip(rows, made(Sampling, num_samples=40, **settings)(MODEL, *padded(rows)), strict=True):
        allowed = {f.emitted: f.hypothesis() for f in slow.every_output(MODEL, row, book)}
        for sample in samples:
            assert_same([sample], [allowed[emitted(sample)]])


SEARCHES: dict[str, Decoding] = {
    "greedy": made(Greedy),
    "beam": made(Beam, 3, n_best=3),
    "beam under rules": made(Beam, 3, n_best=2, no_repeat_ngram=1, bad_words=["bb", "aa"], min_length=3),
    "sampling": made(Sampling, num_samples=5),
}


@pytest.fixture(params=SEARCHES.values(), ids=SEARCHES)
def search(request: pytest.FixtureRequest) -> Decoding:
    """Each search in turn."""
    return request.param


def test_outputs_begin_with_their_prefix_and_log_prob_is_that_of_force_decoding(search: Decoding) -> None:
    rows = sources(len(PREFIXES))
    found = search(MODEL, *padded(rows), demands=prefixes(PREFIXES))
    for row, prefix, hypotheses in zip(rows, PREFIXES, found, strict=True):
        for h in hypotheses:
            assert tuple(h.tokens[: len(prefix)]) == prefix
            assert len(emitted(h)) <= max(5, len(prefix))
            terms = [slow.following(MODEL, tuple(row), emitted(h)[:t])[y] for t, y in enumerate(emitted(h))]
            assert h.log_prob == pytest.approx(sum(terms), abs=1e-9)
        assert len({emitted(h) for h in hypotheses}) == len(hypotheses) or isinstance(search, Sampling)


def test_a_prefix_is_that_of_its_sentence_in_any_batch(search: Decoding) -> None:
    rows = sources(len(PREFIXES))
    together = search(MODEL, *padded(rows), demands=prefixes(PREFIXES))
    backwards = search(MODEL, *padded(rows[::-1], extra=3), demands=prefixes(PREFIXES[::-1]))[::-1]
    for row, prefix, found, other in zip(rows, PREFIXES, together, backwards, strict=True):
        assert_same(found, other)
        assert_same(found, search(MODEL, *padded([row]), demands=prefixes([prefix]))[0])


@pytest.mark.parametrize("demands", [Demands(), prefixes([(), (), ()]), prefixes([(PAD, PAD)] * 3)])
def test_an_empty_prefix_forces_nothing(search: Decoding, demands: Demands) -> None:
    source = padded(sources(3))
    for found, expected in zip(search(MODEL, *source, demands=demands), search(MODEL, *source), strict=True):
        assert_same(found, expected)


@pytest.mark.parametrize("width", [1, 3, 3**5])
@pytest.mark.parametrize("ngram", [0, 2])
def test_a_beam_with_a_prefix_is_the_slow_beam_over_outputs_that_begin_so(width: int, ngram: int) -> None:
    rows, search = sources(len(PREFIXES)), made(Beam, width, n_best=min(width, 5), no_repeat_ngram=ngram, min_length=2)
    found = search(MODEL, *padded(rows), demands=prefixes(PREFIXES))
    for row, prefix, hypotheses in zip(rows, PREFIXES, found, strict=True):
        expected = slow.best(slow.beam(MODEL, row, Book(prefix, ngram, shortest=2), width))
        assert_same(hypotheses, expected[: min(width, 5)])


def test_rules_that_allow_everything_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s2s_lightning.decoding.rules.mannered", lambda *_: pytest.fail("called"))
    made(Beam, 3)(MODEL, *padded(sources(2)))


@pytest.mark.parametrize(
    ("setting", "message"),
    [({"no_repeat_ngram": -1}, "no_repeat_ngram=-1"), ({"repetition_penalty": 0.0}, "repetition_penalty=0.0")],
)
def test_rules_that_make_no_sense_are_refused(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Greedy(**setting)


def emitted(hypothesis: Hypothesis) -> tuple[int, ...]:
    return (*hypothesis.tokens, *[EOS] * hypothesis.finished)
