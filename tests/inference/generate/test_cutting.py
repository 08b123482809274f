"""Long sources: pieces fit, lose nothing but white space, and are as large as halving makes them."""

import unicodedata

import pytest

from s2s_lightning.errors import UserError
from s2s_lightning.inference.generate.requests import Request
from s2s_lightning.inference.generate.source_length import Cutter, Piece, Rule

TEXTS = [
    "One sentence. Another one! A third, which is long? And so on.",
    "no end of a sentence in these words at all",
    "onewordthatistoolongbyfaronewordthatistoolongbyfar and then some",
    "第一句。第二句很长很长。第三句",
    "a  b\tc\u2028d",
]


def words(text: str) -> int:
    return len(text.split())


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("most", [1, 3, 7])
def test_pieces_fit_and_together_are_the_text(text: str, most: int) -> None:
    pieces = Cutter(len, most, "split")(Request(text), 1)
    assert all(len(piece.request.text) <= most for piece in pieces)
    assert "".join(piece.separator + piece.request.text for piece in pieces).split() == text.split()


def test_ends_of_sentences_go_before_white_space() -> None:
    pieces = Cutter(words, 6, "split")(Request(TEXTS[0]), 1)
    assert [piece.request.text for piece in pieces] == [
        "One sentence. Another one!",
        "A third, which is long?",
        "And so on.",
    ]


def test_a_prefix_belongs_to_the_first_piece_and_constraints_to_none() -> None:
    cutter = Cutter(words, 3, "split")
    pieces = cutter(Request(TEXTS[1], prefix="so"), 1)
    assert [piece.request.prefix for piece in pieces] == ["so", *[""] * (len(pieces) - 1)]
    with pytest.raises(UserError, match="line 7 is to be split"):
        cutter(Request(TEXTS[1], constraints=("x",)), 7)


@pytest.mark.parametrize("text", TEXTS)
def test_what_is_truncated_begins_the_text_and_fits(text: str) -> None:
    for most in range(1, len(text)):
        ((kept, _),) = Cutter(len, most, "truncate")(Request(text), 1)
        assert 0 < len(kept.text) <= most
        assert text.startswith(kept.text)
        assert text[len(kept.text)].isspace() or len(kept.text.split()) == 1


def test_what_fits_is_left_as_it_is() -> None:
    cutter = Cutter(words, words(TEXTS[1]), "split")
    assert cutter(Request(TEXTS[1]), 1) == [Piece(Request(TEXTS[1]))]
    assert cutter.cut == 0


def normalized(text: str) -> int:
    return len(unicodedata.normalize("NFKC", text))


@pytest.mark.parametrize("rule", ["split", "truncate", "error"])
def test_the_limit_counts_tokens_after_normalization(rule: Rule) -> None:
    cutter = Cutter(normalized, 5, rule)
    with pytest.raises(UserError, match=r"line 2: .*18 tokens"):
        cutter(Request("\ufdfa"), 2)  # 3 bytes, 18 characters under NFKC
    assert cutter.cut == 0


def test_pieces_of_ligatures_fit_after_normalization() -> None:
    pieces = Cutter(normalized, 3, "split")(Request("\ufb03\ufb03"), 1)  # "ffi" twice
    assert [piece.request.text for piece in pieces] == ["\ufb03", "\ufb03"]
