"""Minimum Bayes risk decoding against brute force with the libraries whose utilities it computes."""

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from rapidfuzz.distance import Levenshtein
from sacrebleu import metrics

from s2s_lightning.decoding import MBR, Beam, Decoding, Demands, Greedy, Hypothesis, Sampling, Tools, Utility
from s2s_lightning.errors import UserError
from s2s_lightning.evaluation.mbr_utilities import BLEU, ChrF, EditDistance
from tests.decoding.fakes import Table, assert_same, padded, sources

WORDS = ["", "", "", "ab", "abc,", "b c"]
"""What each id says."""

MODEL = Table(3)
LIMITS: dict[str, Any] = {"max_length": 6, "max_length_ratio": 9}


def decode(ids: list[int]) -> str:
    return " ".join(WORDS[i] for i in ids)


def ready(search: Decoding) -> Decoding:
    refuse: Any = None
    search.attach(Tools(refuse, refuse, lambda text: [[4]] if text == "abc," else [], decode))
    return search


def words(said: str, right: str) -> float:
    length = max(len(said.split()), len(right.split()))
    return 100 * (1 - Levenshtein.distance(said.split(), right.split()) / length) if length else 100.0


Score = Callable[[str, str], float]

chrf, bleu, lower = metrics.CHRF(), metrics.BLEU(effective_order=True), metrics.BLEU(True, effective_order=True)
UTILITIES: dict[str, tuple[Utility, Score]] = {
    "chrf": (ChrF(), lambda said, right: chrf.sentence_score(said, [right]).score),
    "bleu": (BLEU(), lambda said, right: bleu.sentence_score(said, [right]).score),
    "lower bleu": (BLEU(lowercase=True), lambda said, right: lower.sentence_score(said, [right]).score),
    "edits": (EditDistance(), words),
}


@pytest.fixture(params=UTILITIES.values(), ids=UTILITIES)
def utility(request: pytest.FixtureRequest) -> tuple[Utility, Score]:
    """Each utility, and its value as its library computes it."""
    return request.param


def texts() -> list[str]:
    """Of few words, so that they share n-grams, and odd ones."""
    generator = random.Random(0)
    bag = ["The", "the", "cat", "sat,", "on", "a", "mat.", "(hi)", "3.5", "naïve"]
    some = [" ".join(generator.choices(bag, k=generator.randint(1, 9))) for _ in range(16)]
    return [*some, "", " ", "a", "x", "東京 に", "don't  stop \t now", "aaaa aaaa aaaa"]


def test_utilities_of_all_pairs_are_those_of_the_libraries(utility: tuple[Utility, Score]) -> None:
    found, score = utility[0](texts()).tolist(), utility[1]
    for said, row in zip(texts(), found, strict=True):
        assert row == pytest.approx([score(said, right) for right in texts()], abs=1e-9)


SEARCHES: dict[str, Decoding] = {
    "sampling": Sampling(num_samples=12, **LIMITS),
    "beam": Beam(5, n_best=5, **LIMITS),
    "cut": Sampling(num_samples=12, max_length=1),
}


@pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)
def test_it_is_brute_force_over_the_outputs_of_the_search(search: Decoding, utility: tuple[Utility, Score]) -> None:
    source = padded(sources(3))
    mbr = ready(MBR(search, utility=utility[0], n_best=99))
    for found, candidates in zip(mbr(MODEL, *source), search(MODEL, *source), strict=True):
        said = [decode(h.tokens) for h in candidates]
        expected = {key(h): h._replace(score=mean(utility[1], decode(h.tokens), said)) for h in candidates}
        assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)
        assert len(found) == len(expected)
        for h in found:
            assert_same([h], [expected[key(h)]])


def key(hypothesis: Hypothesis) -> tuple[Any, ...]:
    return (tuple(hypothesis.tokens), hypothesis.finished)


def mean(score: Score, said: str, references: list[str]) -> float:
    return sum(score(said, right) for right in references) / len(references)


def test_of_one_candidate_it_is_that_candidate() -> None:
    source = padded(sources(6))
    for one in (Greedy(**LIMITS), Sampling(**LIMITS), Beam(3, **LIMITS)):
        for (found,), (candidate,) in zip(ready(MBR(one))(MODEL, *source), one(MODEL, *source), strict=True):
            assert found._replace(score=0.0) == candidate._replace(score=0.0)


def test_an_output_that_most_samples_agree_on_wins() -> None:
    """With a utility that is 1 for equal texts alone, it is the most frequent one."""
    samples = Sampling(num_samples=40, max_length=2)(MODEL, *padded(sources(1)))[0]
    times = [sum(decode(other.tokens) == decode(h.tokens) for other in samples) for h in samples]
    (best,) = ready(MBR(Sampling(num_samples=40, max_length=2), utility=Exact()))(MODEL, *padded(sources(1)))[0]
    assert best.score == pytest.approx(max(times) / 40)


class Exact(Utility):
    """A utility of one's own."""

    def __call__(self, texts: Sequence[str]) -> torch.Tensor:
        return torch.tensor([[float(one == other) for other in texts] for one in texts], dtype=torch.float64)


def test_equally_good_outputs_are_sorted_by_probability() -> None:
    search = Beam(3, n_best=3, **LIMITS)
    (found,) = ready(MBR(search, utility=Exact(), n_best=3))(MODEL, *padded([[5, 6, 2]]))
    assert [h.log_prob for h in found] == sorted((h.log_prob for h in found), reverse=True)


def test_a_sentence_decodes_alike_in_any_batch_and_with_its_prefix() -> None:
    rows, prefix = sources(5), torch.tensor([[3], [4], [5], [0], [3]])
    mbr = ready(MBR(Sampling(num_samples=6, top_p=0.9, **LIMITS), n_best=2))
    together = mbr(MODEL, *padded(rows), demands=Demands(prefix))
    for i, (row, found) in enumerate(zip(rows, together, strict=True)):
        assert_same(found, mbr(MODEL, *padded([row], extra=2), demands=Demands(prefix[i : i + 1]))[0])
        words = prefix[i][prefix[i] > 0].tolist()
        assert all(h.tokens[: len(words)] == words for h in found)


def test_the_inner_search_gets_the_tools_too() -> None:
    mbr = ready(MBR(Sampling(num_samples=20, bad_words=["abc,"], **LIMITS), n_best=20))
    assert all(4 not in h.tokens for found in mbr(MODEL, *padded(sources(3))) for h in found)


def test_no_output_at_all_is_refused() -> None:
    with pytest.raises(UserError, match="n_best=0"):
        MBR(n_best=0)
