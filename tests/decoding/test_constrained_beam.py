"""Lexically constrained search against brute force, and against a plain beam where nothing is asked for."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch

from s2s_lightning import EOS, PAD
from s2s_lightning.decoding import (
    Average,
    Beam,
    ConstrainedBeam,
    Demands,
    Greedy,
    Hypothesis,
    LengthPenalty,
    NoPenalty,
    Phrase,
    Sampling,
    phrases_of,
)
from s2s_lightning.decoding.constrained_beam import allocate
from s2s_lightning.decoding.constraints import Phrases
from s2s_lightning.errors import UserError
from tests.decoding.fakes import WORDS, Table, all_outputs, assert_same, forced, padded, ranked, sources, tools

ASKED: dict[str, list[Phrase]] = {
    "nothing": [],
    "a word": [[[4]]],
    "a phrase": [[[4, 5]]],
    "phrases that overlap": [[[4, 5]], [[5, 3]]],
    "a phrase within another": [[[5]], [[3, 5]]],
    "a word twice": [[[4]], [[4]]],
    "a phrase that overlaps itself, twice": [[[4, 4]], [[4, 4]]],
    "a phrase whose beginning returns": [[[4, 4, 5]]],
    "one of two ways": [[[4, 5], [5, 3, 3]]],
    "two ways that end alike, twice": [[[5], [4, 5]], [[5], [4, 5]]],
    "empty phrases": [[], [[]]],
}
LONGEST = 5
"""No phrases of ASKED need more, with EOS."""


def contains(tokens: Sequence[int], phrases: Sequence[Phrase]) -> bool:
    """Whether each phrase ends as often in the tokens as it is asked for."""
    real = [[list(way) for way in phrase if way] for phrase in phrases]
    return all(times(tokens, ways) >= real.count(ways) for ways in real if ways)


def times(tokens: Sequence[int], ways: list[list[int]]) -> int:
    ends = range(1, len(tokens) + 1)
    return sum(any(list(tokens[:end][-len(way) :]) == way for way in ways) for end in ends)


def complete(outputs: Iterator[tuple[int, ...]], phrases: Sequence[Phrase]) -> Iterator[tuple[int, ...]]:
    return (emitted for emitted in outputs if contains(emitted, phrases))


def search(decoding: Beam, rows: list[list[int]], asked: Sequence[Sequence[Phrase]], **demands: Any) -> Any:
    """The hypotheses for rows on a table."""
    return decoding(Table(1), *padded(rows), demands=Demands(phrases=asked, **demands))


@pytest.mark.parametrize("shortest", [0, 4])
@pytest.mark.parametrize(("penalty", "divisor"), [(NoPenalty(), lambda n: 1.0), (Average(), float)])
def test_a_beam_as_wide_as_the_search_space_finds_the_best_outputs_with_the_phrases(
    penalty: LengthPenalty, divisor: Callable[[int], float], shortest: int
) -> None:
    rows, asked = sources(len(ASKED)), list(ASKED.values())
    width = len(WORDS) ** LONGEST
    wide = ConstrainedBeam(width, n_best=5, length_penalty=penalty, max_length=LONGEST, min_length=shortest)
    for row, phrases, found in zip(rows, asked, search(wide, rows, asked), strict=True):
        outputs = complete(all_outputs(shortest, longest(row)), phrases)
        assert_same(found, ranked(Table(1), row, outputs, divisor)[:5])


def longest(row: Sequence[int]) -> int:
    """The maximum length of a source, by the settings' defaults."""
    return min(LONGEST, 2 * len(row) + 10)


@pytest.mark.parametrize("beam_size", [1, 2, 5, 12])
def test_what_ends_contains_its_phrases_in_any_beam(beam_size: int) -> None:
    """Every table row is likely to end, so that a search which let it would."""
    rows, asked = sources(len(ASKED)), list(ASKED.values())
    beam = ConstrainedBeam(beam_size, n_best=min(beam_size, 3), max_length=LONGEST)
    model = Table(2, eos_bias=2.0)
    for row, phrases, found in zip(rows, asked, run(beam, model, rows, asked), strict=True):
        for h in found:
            assert contains(h.tokens, phrases)
            emitted = [*h.tokens, *[EOS] * h.finished]
            assert h.log_prob == pytest.approx(sum(forced(model, row, emitted)), abs=1e-9)


def run(
    decoding: Beam, model: Table, rows: list[list[int]], asked: Sequence[Sequence[Phrase]]
) -> list[list[Hypothesis]]:
    return decoding(model, *padded(rows), demands=Demands(phrases=asked))


@pytest.mark.parametrize("beam_size", [1, 3, 8])
def test_a_sentence_decodes_alike_alone_and_in_any_batch(beam_size: int) -> None:
    rows, asked = sources(len(ASKED)), list(ASKED.values())
    beam = ConstrainedBeam(beam_size, max_length=9, length_penalty=Average())
    model = Table(3, vocab=40, eos_bias=1.0)
    together = run(beam, model, rows, asked)
    backwards = run(beam, model, rows[::-1], asked[::-1])[::-1]
    for row, phrases, found, other in zip(rows, asked, together, backwards, strict=True):
        assert_same(found, other)
        assert_same(found, run(beam, model, [row], [phrases])[0])


@pytest.mark.parametrize("beam_size", [1, 4])
def test_without_phrases_it_is_a_beam_also_beside_others_that_have_some(beam_size: int) -> None:
    rows, model = sources(9), Table(4, vocab=40)
    plain = Beam(beam_size, max_length=8)(model, *padded(rows))
    for asked in ([[]] * 9, [[[[7, 5]]] if i % 2 else [] for i in range(9)]):
        found = run(ConstrainedBeam(beam_size, max_length=8), model, rows, asked)
        for hypotheses, expected, phrases in zip(found, plain, asked, strict=True):
            if not phrases:
                assert_same(hypotheses, expected)
    for hypotheses, expected in zip(ConstrainedBeam(beam_size, max_length=8)(model, *padded(rows)), plain, strict=True):
        assert_same(hypotheses, expected)


def test_the_maximum_length_makes_room_for_prefix_and_phrases() -> None:
    rows, asked = sources(2), [[[[4, 5, 4]], [[3]]], []]
    prefix = torch.tensor([[5, PAD], [3, 4]])
    beam = ConstrainedBeam(5, max_length=2)
    (constrained,), (free,) = search(beam, rows, asked, prefix=prefix)
    assert constrained.tokens[0] == 5
    assert contains(constrained.tokens, asked[0])
    assert len(constrained.tokens) + constrained.finished <= 6
    assert free.tokens[:2] == [3, 4]
    assert len(free.tokens) + free.finished <= 2


def test_a_phrase_that_the_prefix_says_is_said() -> None:
    (found,) = search(Beam(3, max_length=4), sources(1), [[]], prefix=torch.tensor([[4, 5]]))
    (constrained,) = search(ConstrainedBeam(3, max_length=4), sources(1), [[[[4, 5]]]], prefix=torch.tensor([[4, 5]]))
    assert constrained[0].tokens[:2] == found[0].tokens[:2] == [4, 5]
    assert len(constrained[0].tokens) == len(found[0].tokens)


def test_what_cannot_be_complete_is_cut_and_says_so() -> None:
    """A rule goes before a phrase that breaks it; the other sentence is none the worse."""
    beam = ConstrainedBeam(4, n_best=2, max_length=3, no_repeat_ngram=1)
    impossible, possible = search(beam, sources(2), [[[[4, 4]]], [[[5]]]])
    assert [h.finished for h in impossible] == [False, False]
    assert all(len(set(h.tokens)) == len(h.tokens) == 3 for h in impossible)
    assert all(contains(h.tokens, [[[5]]]) for h in possible)


def test_a_phrase_with_a_bad_word_is_refused() -> None:
    beam = ConstrainedBeam(4, bad_words=["bad"])
    beam.attach(tools(decode=lambda ids: "".join("bad" if i == 4 else "-" for i in ids)))
    with pytest.raises(UserError, match="the constraint 'bad-' contains the bad word 'bad'"):
        search(beam, sources(1), [[[[4, 5]]]])


def test_no_ngram_is_repeated_even_for_a_phrase() -> None:
    beam = ConstrainedBeam(20, n_best=5, max_length=6, no_repeat_ngram=1)
    (found,) = search(beam, sources(1), [[[[5, 3]]]])
    assert all(contains(h.tokens, [[[5, 3]]]) and len(set(h.tokens)) == len(h.tokens) for h in found)


@pytest.mark.parametrize("plain", [Greedy(), Beam(), Sampling()])
def test_a_search_that_does_not_mind_phrases_refuses_them(plain: Greedy | Beam | Sampling) -> None:
    with pytest.raises(UserError, match=rf"{type(plain).__name__} cannot .*ConstrainedBeam"):
        plain(Table(), *padded(sources(1)), demands=Demands(phrases=[[[[4]]]]))


def test_texts_become_phrases_and_what_the_vocabulary_cannot_say_is_named() -> None:
    known = {"a b": [[4, 5], [3, 5]], "c": [[3]]}
    encoder = tools(encode=lambda text: known.get(text, []))
    assert phrases_of([["a b", "c"], []], encoder) == [[known["a b"], known["c"]], []]
    with pytest.raises(UserError, match="'zz'"):
        phrases_of([["c"], ["zz"]], encoder)


@pytest.mark.parametrize("name", ASKED)
def test_what_is_missing_and_wanted_is_what_a_slow_search_finds(name: str) -> None:
    """On every output of four words: it is complete if it contains all, and a wanted token never leaves more to do."""
    outputs = [list(y) for y in all_outputs(0, 4) if EOS not in y]
    phrases = Phrases.of([ASKED[name]], torch.device("cpu"))
    nowhere = torch.zeros(1, len(outputs), dtype=torch.long)
    phrases = phrases._replace(said=phrases.said.expand(-1, len(outputs), -1))
    parents = torch.arange(len(outputs)).unsqueeze(0)
    tokens = nowhere.unsqueeze(-1)
    for column in torch.tensor(outputs).T:
        tokens = torch.cat([tokens, column.view(1, -1, 1)], -1)
        phrases = phrases.follow(parents, tokens)
        expected = torch.tensor([contains(row, ASKED[name]) for row in tokens[0, :, 1:].tolist()])
        assert torch.equal(phrases.complete[0], expected)
        missing = phrases.missing(tokens)
        assert torch.equal(missing[0] == 0, expected)
        for wanted in phrases.wanted(tokens).unbind(-1):
            after = torch.cat([tokens, wanted.unsqueeze(-1)], -1)
            left = phrases.follow(parents, after).missing(after)
            assert (left <= missing)[wanted != PAD].all()


def test_the_beam_takes_the_best_of_each_bank_in_turn() -> None:
    total = torch.tensor([[-1.0, -2.0, -3.0, -9.0, -8.0, -torch.inf, -7.0]])
    missing = torch.tensor([[2, 2, 2, 0, 0, 0, 1]])
    chosen = [set(allocate(total, missing, size)[0].tolist()) for size in range(1, 8)]
    assert chosen == [{4}, {4, 6}, {4, 6, 0}, {4, 6, 0, 3}, {4, 6, 0, 3, 1}, {4, 6, 0, 3, 1, 2}, set(range(7))]
    assert allocate(total, missing, 4)[0].tolist() == [0, 6, 4, 3]


@pytest.mark.parametrize("worst", [torch.nan, -torch.inf])
@pytest.mark.parametrize("columns", [slice(None), slice(EOS, EOS + 1), slice(EOS + 1, None)])
def test_a_diverged_network_still_gives_each_sentence_a_hypothesis(worst: float, columns: slice) -> None:
    model = Table()
    model.log_probs[::3, columns] = worst
    found = run(ConstrainedBeam(4, n_best=4, max_length=5), model, sources(3), [[[[4, 5]]], [], [[[3]], [[3]]]])
    assert [len(hypotheses) >= 1 for hypotheses in found] == [True] * 3
