"""Bad words are in no output, in whatever pieces a model writes them: against decoding every possible next token."""

import random
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch

from s2s_lightning import BOS, EOS
from s2s_lightning.data import BPE, Bytes, Characters, Pretokenized, Tokenizer, Unigram, Word, WordPiece
from s2s_lightning.decoding import Beam, Decoding, Demands, Greedy, Sampling
from s2s_lightning.decoding.bad_words import BadWords
from s2s_lightning.errors import UserError
from tests.decoding.fakes import Table, padded, sources, tools

TEXTS = [
    "the cat sat on a mat",
    "new york is at the sea",
    "über naïve café 日本",
    "cats concatenate at night, ok?",
    "c a t",
]
WORDS = ["cat", "new york", "é", "日本", " at", "t,"]

KINDS: dict[str, Callable[[], Tokenizer]] = {
    "BPE": lambda: BPE(300),
    "Unigram": lambda: Unigram(280),
    "WordPiece": lambda: WordPiece(120),
    "Word": Word,
    "Pretokenized": Pretokenized,
    "Characters": Characters,
    "Bytes": Bytes,
}


@cache
def trained(kind: str) -> Tokenizer:
    tokenizer = KINDS[kind]()
    tokenizer.train(TEXTS * 5)
    return tokenizer


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_is_forbidden_exactly_where_its_text_completes_a_bad_word(kind: str) -> None:
    tokenizer, generator = trained(kind), random.Random(kind)

    def decode(ids: list[int]) -> str:
        return tokenizer.decode([ids])[0]

    bad, size = BadWords(WORDS, decode), tokenizer.vocab_size
    rows = [row[:cut] for row in tokenizer.encode(TEXTS) for cut in range(0, len(row), 2)]
    rows += [[generator.randrange(3, size) for _ in range(generator.randrange(6))] for _ in range(30)]
    for row in rows:
        scores = torch.zeros(1, size)
        bad.forbid(scores, torch.tensor([[BOS, *row]]))
        before = bad.count(decode(row))
        expected = [t for t in range(EOS + 1, size) if bad.count(decode([*row, t])) > before]
        assert (scores[0] == -torch.inf).nonzero().flatten().tolist() == expected, decode(row)


def letters(ids: list[int]) -> str:
    return "".join("-----ab"[i] for i in ids)


SEARCHES: list[Callable[..., Decoding]] = [
    Greedy,
    lambda **options: Beam(3, n_best=3, **options),
    lambda **options: Sampling(num_samples=20, **options),
]


@pytest.mark.parametrize("search", SEARCHES, ids=["greedy", "beam", "sampling"])
def test_no_search_writes_a_bad_word(search: Callable[..., Decoding]) -> None:
    options: dict[str, Any] = {"max_length": 8, "max_length_ratio": 9}
    free, bound = search(**options), search(bad_words=["ab"], **options)
    texts = []
    for decoding in (free, bound):
        decoding.attach(tools(decode=letters))
        found = decoding(Table(vocab=7), *padded(sources(8)))
        texts.append([letters(h.tokens) for several in found for h in several])
    assert [text for text in texts[0] if "ab" in text]
    assert not [text for text in texts[1] if "ab" in text]


def test_a_prefix_with_a_bad_word_and_an_empty_bad_word_are_refused() -> None:
    decoding = Greedy(bad_words=["ab"])
    decoding.attach(tools(decode=letters))
    with pytest.raises(UserError, match="the prefix 'ab' contains the bad word 'ab': leave one of them out"):
        decoding(Table(vocab=7), *padded(sources(1)), demands=Demands(torch.tensor([[5, 6]])))
    with pytest.raises(UserError, match="an empty text is in every output"):
        Greedy(bad_words=["ab", " "])
