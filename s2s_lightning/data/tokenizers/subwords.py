"""Subword vocabularies learnt from the corpus, by the ``tokenizers`` library on all cores."""

import json
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self

from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from s2s_lightning import UNK
from s2s_lightning.data.tokenizers.text import Normalization
from s2s_lightning.data.tokenizers.tokenizer import SPECIALS, Tokenizer, check_vocabulary
from s2s_lightning.errors import UserError, check_below_one
from s2s_lightning.files import check_text

RESERVED = [f" {name} " for name in SPECIALS]
"""The library's names of PAD, BOS, EOS and UNK. No piece of text has a space in it, so no text can spell one."""

INSIDE = " ##"
"""What marks a piece inside of a word, with a space for the same reason: the text may hold the word ##."""

LONGEST_RUN = 1000
"""Characters of a word; the time of WordPiece grows with the cube of it, and the library's limit of 100 gives UNK."""

SMALLEST_BYTE_LEVEL = len(SPECIALS) + 256


class SubwordTokenizer(Tokenizer):
    """Base of BPE, Unigram and WordPiece. ``options`` are the constructor's arguments of the subclass."""

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._json = ""
        self._backend = self._untrained()
        self._backend.normalizer = _normalizer(options["lowercase"], options["normalization"])

    @abstractmethod
    def _untrained(self) -> Backend:
        """Model, pre-tokenizer and decoder."""

    @abstractmethod
    def _trainer(self) -> trainers.Trainer:
        """The library's trainer, with RESERVED as special tokens."""

    @property
    def vocab_size(self) -> int:
        return self._backend.get_vocab_size()

    def train(self, texts: Iterable[str]) -> None:
        self._backend.train_from_iterator(map(check_text, texts), self._trainer())
        self._use(self._backend.to_str())
        if self.vocab_size > self._options["vocab_size"]:
            raise UserError(
                f"vocab_size={self._options['vocab_size']}: the characters of the text alone are "
                f"{self.vocab_size} ids; give so many or more"
            )

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        texts = list(map(check_text, texts))
        return [encoding.ids for encoding in self._backend.encode_batch_fast(texts, add_special_tokens=False)]

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        rows = [[i for i in row if i >= UNK] for row in ids]
        texts = self._backend.decode_batch(rows, skip_special_tokens=False)
        return [text.replace(RESERVED[UNK], SPECIALS[UNK]) for text in texts]

    def vocabulary(self) -> list[str]:
        """The library's own names of its pieces."""
        return [*SPECIALS, *(str(self._backend.id_to_token(i)) for i in range(len(SPECIALS), self.vocab_size))]

    def options(self) -> dict[str, Any]:
        return self._options

    def state(self) -> str:
        return json.dumps({"options": self._options, "backend": self._json})

    @classmethod
    def load(cls, state: str) -> Self:
        content = json.loads(state)
        tokenizer = cls(**content["options"])
        tokenizer._use(content["backend"])
        return tokenizer

    def _use(self, text: str) -> None:
        self._json = text  # the library reads a float's last digit not always back, so the text is kept as it is
        self._backend = Backend.from_str(text)
        self._backend.encode_special_tokens = True  # the JSON does not keep it


class BPE(SubwordTokenizer):
    """Byte-pair encoding (Sennrich et al., 2016, arXiv:1508.07909) of UTF-8 bytes: lossless, nothing is unknown.

    With ``dropout`` each epoch of training reads the text in other pieces (BPE-dropout, Provilkov et al., 2020,
    arXiv:1910.13267). Each epoch's ids are written to the cache once, so that batches keep their budget and a resumed
    run reads what the killed one would have read; evaluation knows no dropout.

    Args:
        vocab_size: ids in all, the four special ones and the 256 bytes included; a small corpus may give fewer.
        min_frequency: pairs seen less often are not merged.
        lowercase: read the text in lower case; references stay as they are.
        normalization: Unicode form in which the text is read.
        dropout: probability that a merge is left out, in training (paper: 0.1).

    Raises:
        UserError: a vocabulary smaller than the bytes, a frequency below 0, or a dropout that is not from 0 to below 1.
    """

    def __init__(
        self,
        vocab_size: int = 8000,
        min_frequency: int = 2,
        lowercase: bool = False,
        normalization: Normalization = "none",
        dropout: float = 0.0,
    ) -> None:
        check_vocabulary(vocab_size, SMALLEST_BYTE_LEVEL, "4 special ids and 256 bytes", min_frequency)
        check_below_one(dropout=dropout)
        super().__init__(
            vocab_size=vocab_size,
            min_frequency=min_frequency,
            lowercase=lowercase,
            normalization=normalization,
            dropout=dropout,
        )

    @property
    def samples(self) -> bool:
        return bool(self._options["dropout"] > 0)

    def sample(self, texts: Sequence[str]) -> list[list[int]]:
        self._backend.model.dropout = self._options["dropout"] or None
        try:
            return self.encode(texts)
        finally:
            self._backend.model.dropout = None

    def _untrained(self) -> Backend:
        return _byte_level(models.BPE())

    def _trainer(self) -> trainers.Trainer:
        return trainers.BpeTrainer(
            vocab_size=self._options["vocab_size"],
            min_frequency=self._options["min_frequency"],
            special_tokens=RESERVED,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )


class Unigram(SubwordTokenizer):
    """Unigram language model (Kudo, 2018, arXiv:1804.10959) over UTF-8 bytes: lossless, nothing is unknown.

    Training is not reproducible to the last piece, even in one thread; a checkpoint keeps what was learnt.

    Args:
        vocab_size: ids in all, the four special ones and the 256 bytes included; a small corpus may give fewer.
        lowercase: read the text in lower case; references stay as they are.
        normalization: Unicode form in which the text is read.

    Raises:
        UserError: a vocabulary smaller than the bytes.
    """

    def __init__(self, vocab_size: int = 8000, lowercase: bool = False, normalization: Normalization = "none") -> None:
        check_vocabulary(vocab_size, SMALLEST_BYTE_LEVEL, "4 special ids and 256 bytes")
        super().__init__(vocab_size=vocab_size, lowercase=lowercase, normalization=normalization)

    def train(self, texts: Iterable[str]) -> None:
        super().train(_not_all_empty(texts))

    def _untrained(self) -> Backend:
        return _byte_level(models.Unigram())

    def _trainer(self) -> trainers.Trainer:
        return trainers.UnigramTrainer(
            vocab_size=self._options["vocab_size"],
            special_tokens=RESERVED,
            unk_token=RESERVED[UNK],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )


class WordPiece(SubwordTokenizer):
    """WordPiece (Schuster & Nakajima, 2012) inside words: lossless up to white space, for characters seen.

    A run of more than 1,000 letters without a space is read as several words.

    Args:
        vocab_size: ids in all, the four special ones included; a small corpus may give fewer.
        min_frequency: pairs seen less often are not merged.
        lowercase: read the text in lower case; references stay as they are.
        normalization: Unicode form in which the text is read.

    Raises:
        UserError: a vocabulary without room for a character, or a frequency below 0; in training, one smaller than the
            characters of the text.
    """

    def __init__(
        self,
        vocab_size: int = 8000,
        min_frequency: int = 2,
        lowercase: bool = False,
        normalization: Normalization = "none",
    ) -> None:
        check_vocabulary(vocab_size, len(SPECIALS) + 1, "4 special ids and one character", min_frequency)
        super().__init__(
            vocab_size=vocab_size, min_frequency=min_frequency, lowercase=lowercase, normalization=normalization
        )

    def _untrained(self) -> Backend:
        model = models.WordPiece(
            unk_token=RESERVED[UNK], continuing_subword_prefix=INSIDE, max_input_chars_per_word=LONGEST_RUN
        )
        backend = Backend(model)
        runs = [pre_tokenizers.Whitespace(), pre_tokenizers.FixedLength(LONGEST_RUN)]
        backend.pre_tokenizer = pre_tokenizers.Sequence(runs)
        backend.decoder = decoders.WordPiece(INSIDE, cleanup=False)
        return backend

    def _trainer(self) -> trainers.Trainer:
        return trainers.WordPieceTrainer(
            vocab_size=self._options["vocab_size"],
            min_frequency=self._options["min_frequency"],
            special_tokens=RESERVED,
            continuing_subword_prefix=INSIDE,
            show_progress=False,
        )


def _byte_level(model: models.Model) -> Backend:
    backend = Backend(model)
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return backend


def _normalizer(lowercase: bool, normalization: Normalization) -> normalizers.Normalizer:
    forms: dict[str, list[normalizers.Normalizer]] = {"NFC": [normalizers.NFC()], "NFKC": [normalizers.NFKC()]}
    lower = [normalizers.Lowercase()] if lowercase else []
    return normalizers.Sequence([*forms.get(normalization, []), *lower])


def _not_all_empty(texts: Iterable[str]) -> Iterator[str]:
    """Yield the texts, and a space where all of them are empty: the library learns scores that are no numbers then."""
    empty = True
    for text in texts:
        empty = empty and not text
        yield text
    if empty:
        yield " "
