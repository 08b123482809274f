"""Ids for networks that copy: a word that the target vocabulary has not is the place where it stands in the source."""

from collections.abc import Sequence
from typing import NamedTuple

from s2s_lightning import UNK
from s2s_lightning.data.tokenizers.tokenizer import Symbols
from s2s_lightning.data.vocabularies import Tokenizers

IdRows = list[list[int]]


class Copier(NamedTuple):
    """Pair of tokenizers whose symbols are words.

    Below V, the size of the target vocabulary, an id is that of a target word; V + i is the word at position i of the
    source, where it stands there first. So an id depends on its pair alone, and is final when it is prepared.
    """

    src: Symbols
    tgt: Symbols

    @classmethod
    def of(cls, tokenizers: Tokenizers) -> "Copier | None":
        """None where one of them has no words."""
        src, tgt = tokenizers.src.symbols(), tokenizers.target.symbols()
        return None if src is None or tgt is None else cls(src, tgt)

    def encode_sources(self, sources: Sequence[str]) -> IdRows:
        """Return the id that copying each word emits."""
        return [self._ids(words, words) for words in map(self.src.cut, sources)]

    def encode_targets(self, targets: Sequence[str], sources: Sequence[str]) -> IdRows:
        """UNK is left for what neither the vocabulary nor the source has."""
        cuts = zip(map(self.tgt.cut, targets), map(self.src.cut, sources), strict=True)
        return [self._ids(words, source) for words, source in cuts]

    def _ids(self, words: Sequence[str], source: Sequence[str]) -> list[int]:
        known = self.tgt.lookup(words)
        if UNK not in known:
            return known
        size, places = self.tgt.vocab_size, {word: place for place, word in reversed(list(enumerate(source)))}
        unknown = (size + places[word] if word in places else UNK for word in words)
        return [new if i == UNK else i for i, new in zip(known, unknown, strict=True)]

    def decode(self, ids: Sequence[Sequence[int]], sources: Sequence[str]) -> list[str]:
        """The text of each row of target ids, with the words of its own source."""
        return [self.tgt.spell(row, self.src.cut(source)) for row, source in zip(ids, sources, strict=True)]
