"""Law 18 over texts that hypothesis makes: every tokenizer, and every vocabulary that can be asked for."""

from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from s2s_lightning import BOS, EOS, PAD, UNK
from s2s_lightning.data import BPE, Bytes, Characters, Pretokenized, Tokenizer, Unigram, Word, WordPiece
from s2s_lightning.errors import UserError

SPELLED = ["</s>", "<pad>", "<s>", "<unk>", " </s> ", " ##", "##", "▁", "Ġ"]
SPACES = [" ", "\u00a0", "\u3000", "\u2028", "\r\n", "\0", "\ufeff"]
PARTS = [*SPELLED, *SPACES, "👩\u200d👩\u200d👧", "e\u0301", "ﬁ", "שלום", "你好", "\U0010ffff"]
TEXT = st.lists(st.sampled_from(PARTS) | st.text(max_size=6), max_size=8).map("".join)
FEW = settings(max_examples=60, deadline=None, derandomize=True)

CORPUS = ["the cat sat on the mat </s>", "ein Käse", "你好世界", "\0\u2028"] * 2
LOSSLESS = {"Bytes": Bytes(), "BPE": BPE(300), "Unigram": Unigram(300)}
KINDS: dict[str, Callable[[], Tokenizer]] = {
    "Characters": Characters,
    "Pretokenized": Pretokenized,
    "Word": Word,
    "WordPiece": lambda: WordPiece(100_000),
}


@pytest.fixture(scope="module", autouse=True)
def _trained() -> None:
    for tokenizer in LOSSLESS.values():
        tokenizer.train(CORPUS)


def squeezed(text: str) -> str:
    return "".join(text.split())


def check_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """The ids of a text, none of which is PAD, BOS or EOS or beyond the vocabulary."""
    (ids,) = tokenizer.encode([text])
    assert not {PAD, BOS, EOS} & set(ids)
    assert all(0 <= i < tokenizer.vocab_size for i in ids)
    return ids


@pytest.mark.parametrize("name", LOSSLESS)
@FEW
@given(text=TEXT)
def test_bytes_and_pieces_of_bytes_give_any_text_back(name: str, text: str) -> None:
    ids = check_ids(LOSSLESS[name], text)
    assert UNK not in ids
    assert LOSSLESS[name].decode([ids]) == [text]


@pytest.mark.parametrize("name", KINDS)
@FEW
@given(text=TEXT)
@example("a" * 3000)
@example("http://x.y/" + "ab" * 700)
@example("我们今天去公园玩了很久然后回家吃饭" * 30)
def test_what_was_seen_comes_back_up_to_what_the_tokenizer_says(name: str, text: str) -> None:
    tokenizer = KINDS[name]()
    tokenizer.train([text])
    ids = check_ids(tokenizer, text)
    (back,) = tokenizer.decode([ids])
    assert UNK not in ids
    expected = {"Characters": text, "Pretokenized": " ".join(filter(None, text.split(" ")))}
    assert back == expected[name] if name in expected else squeezed(back) == squeezed(text)


@pytest.mark.parametrize("name", KINDS)
@FEW
@given(seen=TEXT, text=TEXT)
def test_a_text_of_unknown_symbols_has_unk_where_they_stand(name: str, seen: str, text: str) -> None:
    tokenizer = KINDS[name]()
    tokenizer.train([seen])
    ids = check_ids(tokenizer, text)
    assert (UNK in ids) or squeezed(tokenizer.decode([ids])[0]) == squeezed(text)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(texts=st.lists(st.sampled_from(["", " ", "a", "aa", "\n"]) | TEXT, max_size=4))
@example([])
@example(["", ""])
@example(["a"] * 50)
def test_every_kind_learns_from_any_texts_even_none(texts: list[str]) -> None:
    for tokenizer in (BPE(270), Unigram(270), WordPiece(5000), Word(), Characters(), Pretokenized()):
        tokenizer.train(texts)
        again = type(tokenizer).load(tokenizer.state())
        assert again.encode([*texts, "x"]) == tokenizer.encode([*texts, "x"])
        assert tokenizer.vocab_size <= tokenizer.options()["vocab_size"] if tokenizer.options()["vocab_size"] else True


@pytest.mark.parametrize("kind", [BPE, Unigram, WordPiece, Word, Characters, Pretokenized])
@pytest.mark.parametrize("size", [-3, 0, 4, 10_000_001, 10**9, 10**30])
def test_a_vocabulary_that_cannot_be_is_refused(kind: type[Tokenizer], size: int) -> None:
    with pytest.raises(UserError, match=f"vocab_size={size}: it must be from"):
        kind(vocab_size=size)  # type: ignore[call-arg]


@pytest.mark.parametrize("kind", [BPE, WordPiece, Word])
@pytest.mark.parametrize("frequency", [-1, 2**31, 10**30])
def test_a_frequency_that_cannot_be_is_refused(kind: type[Tokenizer], frequency: int) -> None:
    with pytest.raises(UserError, match=f"min_frequency={frequency}: it must be from 0"):
        kind(min_frequency=frequency)  # type: ignore[call-arg]


def test_the_least_and_the_largest_vocabularies_are_kept() -> None:
    for tokenizer in (BPE(260), Unigram(260), Word(5), WordPiece(8), BPE(10_000_000, 2**31 - 1)):
        tokenizer.train(["ab ab", "a b"])
        assert tokenizer.vocab_size <= tokenizer.options()["vocab_size"]


def test_a_vocabulary_smaller_than_the_characters_of_the_text_names_the_least() -> None:
    with pytest.raises(UserError, match=r"vocab_size=8: .* alone are 19 ids; give so many or more"):
        WordPiece(8).train(["abc def ghi"] * 3)
    WordPiece(19).train(["abc def ghi"] * 3)


def test_a_frequency_that_leaves_no_symbol_is_refused_but_a_blank_text_is_not() -> None:
    with pytest.raises(UserError, match=r"min_frequency=3: no symbol .* seen 2 times"):
        Word(min_frequency=3).train(["a a b"])
    Word(min_frequency=3).train(["", " "])


@pytest.mark.parametrize("text", ["\ud800", "a\udfff b", "\ude00\ud83d"])
def test_half_of_a_surrogate_pair_is_refused_in_one_line_by_every_kind(text: str) -> None:
    for make in (Bytes, lambda: BPE(260), lambda: Unigram(260), *KINDS.values()):
        tokenizer = make()
        tokenizer.train(["a b"])
        for use in (tokenizer.encode, tokenizer.train):
            if not (use == tokenizer.train and not tokenizer.needs_training):
                with pytest.raises(UserError, match="half of a surrogate pair"):
                    use([text])


@FEW
@given(text=TEXT)
def test_only_a_plain_space_separates_ready_made_tokens(text: str) -> None:
    assert list(Pretokenized().split(text)) == [token for token in text.split(" ") if token]
