"""One side of a corpus of pairs, for a language model."""

from collections.abc import Iterator, Mapping

from s2s_lightning.data.cache import digest
from s2s_lightning.data.corpora.cmudict import CMUDict
from s2s_lightning.data.corpora.corpus import Corpus, Pair, Split
from s2s_lightning.data.tokenizers import Tokenizer


class TargetSide(Corpus):
    """The targets of another corpus, behind empty sources: each right answer is an item of its own.

    The splits are those of the corpus, by its sources, so that a text which answers several of them may be in two.

    Args:
        corpus: where the targets come from; the CMU Pronouncing Dictionary by default.
    """

    has_source = False

    def __init__(self, corpus: Corpus | None = None) -> None:
        self.corpus = CMUDict() if corpus is None else corpus

    def has(self, split: Split) -> bool:
        return self.corpus.has(split)

    def read(self, split: Split) -> Iterator[Pair]:
        return (Pair("", (ref,)) for pair in self.corpus.read(split) for ref in pair.refs)

    def remarks(self, split: Split) -> Mapping[str, int]:
        return self.corpus.remarks(split)

    def fingerprint(self, split: Split) -> str:
        return digest("TargetSide", self.corpus.fingerprint(split))

    def tokenizers(self) -> tuple[Tokenizer, Tokenizer | None]:
        """The target's alone: one vocabulary for both sides, of which a source uses nothing."""
        src, tgt = self.corpus.tokenizers()
        return tgt or src, None
