"""Gold alignments, alignments of attention, and the error rate, against loops over sets."""

from pathlib import Path

import numpy as np
import pytest

from s2s_lightning.data.tokenizers import BPE, Bytes, Characters, Unigram, Word
from s2s_lightning.errors import UserError
from s2s_lightning.evaluation.word_alignment import NO_WORD, Gold, attended, count, error_rate, read_gold, words_of

RNG = np.random.default_rng(0)
Links = set[tuple[int, int]]


def slow_links(weights: np.ndarray, src_words: list[int], tgt_words: list[int]) -> Links:
    links = set()
    for t, row in enumerate(weights.tolist()):
        best = max(range(len(row)), key=lambda s: row[s])
        if NO_WORD not in (src_words[best], tgt_words[t]):
            links.add((src_words[best], tgt_words[t]))
    return links


def slow_error_rate(pairs: list[tuple[Links, Gold]]) -> float:
    """Och & Ney (2003)."""
    right = sum(len(links & gold.sure) + len(links & gold.possible) for links, gold in pairs)
    return 100 * (1 - right / sum(len(links) + len(gold.sure) for links, gold in pairs))


def random_words(words: int) -> list[int]:
    """Each of one to three tokens, with some of none between."""
    tokens: list[int] = []
    for word in range(words):
        tokens += [word] * int(RNG.integers(1, 4)) + [NO_WORD] * int(RNG.integers(0, 2))
    return tokens


def random_gold(words: tuple[int, int]) -> Gold:
    links = [(i, j) for i in range(words[0]) for j in range(words[1])]
    possible = {link for link in links if RNG.random() < 0.4}
    return Gold(frozenset(link for link in possible if RNG.random() < 0.5), frozenset(possible))


def test_links_and_error_rate_are_those_of_a_loop_over_sets() -> None:
    maps, counts, slow = 3, [], [[] for _ in range(3)]
    for words in [(3, 4), (5, 2), (1, 1), (6, 6)]:
        src, tgt, gold = random_words(words[0]), random_words(words[1]), random_gold(words)
        weights = RNG.random((maps, len(tgt), len(src)))
        linked = attended(weights, src, tgt)
        counts.append(count(linked, gold))
        for each, weight, found in zip(slow, weights, linked, strict=True):
            links = slow_links(weight, src, tgt)
            assert set(zip(*np.nonzero(found), strict=True)) == links
            each.append((links, gold))
    assert error_rate(counts) == pytest.approx([slow_error_rate(pairs) for pairs in slow], abs=1e-10)


def test_an_alignment_between_sure_and_possible_is_without_error() -> None:
    sure, possible = frozenset({(0, 0)}), frozenset({(0, 0), (1, 1), (0, 1)})
    linked = attended(np.eye(2)[None], [0, 1], [0, 1])
    assert error_rate([count(linked, Gold(sure, possible))]) == [0]


def test_all_wrong_is_a_hundred_percent_and_nothing_at_all_is_none() -> None:
    linked = attended(np.eye(2)[None], [0, 1], [0, 1])
    wrong = frozenset({(0, 1), (1, 0)})
    assert error_rate([count(linked, Gold(wrong, wrong))]) == [100]
    nothing = attended(np.zeros((1, 0, 0)), [], [])
    assert error_rate([count(nothing, Gold(frozenset(), frozenset()))]) == [0]


def test_sure_possible_and_empty_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "gold"
    path.write_text("0-0 1p2 3?1\n\n2-2\n")
    first, second, third = read_gold(path)
    assert first == ({(0, 0)}, {(0, 0), (1, 2), (3, 1)})
    assert second == (frozenset(), frozenset())
    assert third.sure == third.possible == {(2, 2)}


def test_words_may_be_counted_from_one(tmp_path: Path) -> None:
    path = tmp_path / "gold"
    path.write_text("1-1 2p3\n")
    assert read_gold(path, one_based=True) == [({(0, 0)}, {(0, 0), (1, 2)})]


@pytest.mark.parametrize("text", ["0-0\n1-x", "0-0\n1:1", "0-0\n1-1-2", "1-1\n0-1"])
def test_what_is_no_link_is_named_with_its_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "gold"
    path.write_text(text)
    with pytest.raises(UserError, match=rf"--gold={path}, line 2: .* is no link"):
        read_gold(path, "--gold", one_based=text.startswith("1"))


TEXTS = ["the cat sat on the mat", "a  naïve café", "שלום עולם", "日本語 を 学ぶ", "x"]


@pytest.mark.parametrize(
    "tokenizer",
    [Word(), Characters(), Bytes(), BPE(vocab_size=300), Unigram(vocab_size=300)],
    ids=lambda t: type(t).__name__,
)
def test_each_token_is_of_the_word_that_it_stands_in(tokenizer: object) -> None:
    tokenizer.train(TEXTS)
    for text in TEXTS:
        (ids,) = tokenizer.encode([text])
        words = words_of(ids, tokenizer.decode)
        spoken = [
            [i for i, word in zip(ids, words, strict=True) if word == place] for place in range(len(text.split()))
        ]
        assert [tokenizer.decode([each])[0].strip() for each in spoken] == text.split()


def test_a_token_of_white_space_alone_is_of_no_word() -> None:
    letters = "ab c"
    words = words_of(range(4), lambda rows: ["".join(letters[i] for i in row) for row in rows])
    assert words == [0, 0, NO_WORD, 1]
