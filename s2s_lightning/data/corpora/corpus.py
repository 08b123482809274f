"""The interface of a corpus: where pairs of text come from."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from reprlib import repr as brief
from typing import Any, Literal, NamedTuple

from s2s_lightning.data.tokenizers import BPE, Tokenizer
from s2s_lightning.errors import UserError
from s2s_lightning.files import check_text

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")

REPEATED = "equal references merged"
"""The remark on right answers that a source has twice."""


class Pair(NamedTuple):
    """A source and its right answers: one line of text each, at least one answer.

    In training each answer makes a pair of its own. In evaluation an output is scored against all of them, and the loss
    is that of the first.
    """

    src: str
    refs: tuple[str, ...]


class Corpus(ABC):
    """Pairs of text in up to three splits, read as a stream."""

    has_source = True
    """False where all sources are empty: text for a language model."""

    @abstractmethod
    def has(self, split: Split) -> bool:
        """True if there is such a split."""

    @abstractmethod
    def read(self, split: Split) -> Iterator[Pair]:
        """The pairs of a split, in the same order each time."""

    def fingerprint(self, split: Split) -> str:
        """Equal for equal content: the key of what is prepared from it. By default it reads the whole split."""
        state = blake2b(digest_size=16)
        for pair in self.read(split):
            state.update(repr(tuple(pair)).encode("utf-8", "surrogatepass"))
        return state.hexdigest()

    def remarks(self, split: Split) -> Mapping[str, int]:
        """Count by reason what the latest whole reading of a split skipped or merged; the summary shows it."""
        return {}

    def tokenizers(self) -> tuple[Tokenizer, Tokenizer | None]:
        """Source and target tokenizer, when the user names none; None for one that serves both sides."""
        return BPE(), None


def as_pair(src: Any, tgt: Any, where: str) -> Pair:
    """Return the fields of a row as texts.

    Raises:
        UserError: a field holds something else, or text that no file can hold, naming ``where``.
    """
    refs = [tgt] if isinstance(tgt, str) else tgt
    if not (isinstance(src, str) and isinstance(refs, list) and refs and all(isinstance(ref, str) for ref in refs)):
        raise UserError(
            f"{where}: {brief(src)} and {brief(tgt)}: a source must be text, a target text or a list of texts"
        )
    for text in (src, *refs):
        check_text(text, where)
    return Pair(src, tuple(refs))


def pairs(corpus: Corpus, split: Split) -> Iterator[Pair]:
    """Yield the pairs of a split of anybody's corpus.

    Raises:
        UserError: one of them is no pair of texts, naming its number.
    """
    for number, (src, refs) in enumerate(corpus.read(split), 1):
        where = f"{type(corpus).__name__}, {split}, pair {number}"
        yield as_pair(src, list(refs) if isinstance(refs, tuple) else refs, where)


def rank(seed: int, text: str) -> int:
    """A number of 64 bits that decides where a text falls: the same in each process and on each machine."""
    data = f"{seed}:{text}".encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")
