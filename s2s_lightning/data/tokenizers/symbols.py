"""Tokenizers that look symbols up in a list: characters, words, ready-made tokens. Bytes need no list."""

import json
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Self

from tokenizers.pre_tokenizers import Whitespace

from s2s_lightning import UNK
from s2s_lightning.data.tokenizers.text import Normalization, Reading
from s2s_lightning.data.tokenizers.tokenizer import SPECIALS, Tokenizer, check_vocabulary
from s2s_lightning.errors import UserError
from s2s_lightning.files import check_text


class SymbolTokenizer(Tokenizer):
    """One id for each symbol seen in training, UNK for all others. A subclass says what a symbol is.

    Args:
        vocab_size: the most ids, the four special ones included, frequent symbols first; null keeps all.
        min_frequency: symbols seen less often become UNK.
        lowercase: read the text in lower case; references stay as they are.
        normalization: Unicode form in which the text is read.

    Raises:
        UserError: a vocabulary without room for a symbol, or a frequency below 0.
    """

    def __init__(
        self,
        vocab_size: int | None = None,
        min_frequency: int = 1,
        lowercase: bool = False,
        normalization: Normalization = "none",
    ) -> None:
        check_vocabulary(vocab_size, len(SPECIALS) + 1, "4 special ids and one symbol", min_frequency)
        self._options = {
            "vocab_size": vocab_size,
            "min_frequency": min_frequency,
            "lowercase": lowercase,
            "normalization": normalization,
        }
        self._most = None if vocab_size is None else vocab_size - len(SPECIALS)
        self._min_frequency = min_frequency
        self._read = Reading(lowercase, normalization)
        self._index([])

    @abstractmethod
    def split(self, text: str) -> Sequence[str]:
        """The symbols of a text."""

    @abstractmethod
    def join(self, symbols: Sequence[str]) -> str:
        """The text of symbols."""

    def _index(self, symbols: list[str]) -> None:
        self._symbols = [*SPECIALS, *symbols]
        self._ids = {symbol: i for i, symbol in enumerate(symbols, len(SPECIALS))}

    @property
    def vocab_size(self) -> int:
        return len(self._symbols)

    def train(self, texts: Iterable[str]) -> None:
        counts = Counter(symbol for text in texts for symbol in self.cut(text))
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        if ranked and ranked[0][1] < self._min_frequency:
            raise UserError(
                f"min_frequency={self._min_frequency}: no symbol is seen so often, so all would be unknown; the most "
                f"frequent one is seen {ranked[0][1]:,} times"
            )
        self._index([symbol for symbol, count in ranked if count >= self._min_frequency][: self._most])

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [self.lookup(self.cut(text)) for text in texts]

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        return [self.spell(row) for row in ids]

    def identities(self) -> list[str]:
        return self._symbols  # as printed, a space and ▁ look alike

    def symbols(self) -> Self:
        return self

    def cut(self, text: str) -> Sequence[str]:
        """The symbols of a text as it is read, known or not."""
        return self.split(self._read(text))

    def lookup(self, symbols: Sequence[str]) -> list[int]:
        """Their ids."""
        return [self._ids.get(symbol, UNK) for symbol in symbols]

    def spell(self, ids: Sequence[int], others: Sequence[str] = ()) -> str:
        """The text of ids, of which those from ``vocab_size`` on are ``others``."""
        size = self.vocab_size
        return self.join([self._symbols[i] if i < size else others[i - size] for i in ids if i >= UNK])

    def options(self) -> dict[str, Any]:
        return self._options

    def state(self) -> str:
        return json.dumps({"options": self._options, "symbols": self._symbols[len(SPECIALS) :]})

    @classmethod
    def load(cls, state: str) -> Self:
        content = json.loads(state)
        tokenizer = cls(**content["options"])
        tokenizer._index(content["symbols"])
        return tokenizer


class Characters(SymbolTokenizer):
    """One id for each Unicode code point: lossless for the symbols seen in training."""

    def split(self, text: str) -> Sequence[str]:
        return text

    def join(self, symbols: Sequence[str]) -> str:
        return "".join(symbols)


class Pretokenized(SymbolTokenizer):
    """Tokens as the text has them, between spaces: phonemes, actions, the output of another tokenizer.

    Only U+0020 separates tokens; a no-break or an ideographic space is part of one.
    """

    def split(self, text: str) -> Sequence[str]:
        return [token for token in text.split(" ") if token]

    def join(self, symbols: Sequence[str]) -> str:
        return " ".join(symbols)


class Word(SymbolTokenizer):
    """Words and marks of punctuation, joined by spaces again: lossless up to white space, for words seen.

    Any white space of Unicode separates words; runs of marks are one symbol.
    """

    _cut = Whitespace()

    def split(self, text: str) -> Sequence[str]:
        return [piece for piece, _ in self._cut.pre_tokenize_str(text)]

    def join(self, symbols: Sequence[str]) -> str:
        return " ".join(symbols)


class Bytes(Tokenizer):
    """The 256 bytes of UTF-8 (Xue et al., 2022, ByT5, arXiv:2105.13626): lossless, and nothing is unknown."""

    needs_training = False

    @property
    def vocab_size(self) -> int:
        return len(SPECIALS) + 256

    def train(self, texts: Iterable[str]) -> None:
        """There is nothing to learn."""

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [[byte + len(SPECIALS) for byte in check_text(text).encode()] for text in texts]

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        rows = (bytes(i - len(SPECIALS) for i in row if i >= len(SPECIALS)) for row in ids)
        return [row.decode(errors="replace") for row in rows]

    def vocabulary(self) -> list[str]:
        """Most bytes alone are no text."""
        return [*SPECIALS, *(f"<0x{byte:02X}>" for byte in range(256))]

    def state(self) -> str:
        return ""

    @classmethod
    def load(cls, state: str) -> Self:
        return cls()
