"""The interface of a tokenizer, and how one travels in a checkpoint."""

import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

from s2s_lightning.data.cache import digest
from s2s_lightning.errors import UserError
from s2s_lightning.trust.names import full_name, lookup

SPECIALS = ("<pad>", "<s>", "</s>", "<unk>")
"""How PAD, BOS, EOS and UNK are shown."""

LARGEST = 10_000_000
"""The most ids of a vocabulary: libraries reserve memory for as many as are asked for."""


def check_vocabulary(vocab_size: int | None, smallest: int, start: str, min_frequency: int = 1) -> None:
    """Check a vocabulary's size, where one is given, and the least frequency of its symbols.

    Args:
        vocab_size: ids in all.
        smallest: the least it can be.
        start: what these first ids are, in an error.
        min_frequency: how often a symbol must be seen.

    Raises:
        UserError: one of the two cannot be.
    """
    if vocab_size is not None and not smallest <= vocab_size <= LARGEST:
        raise UserError(f"vocab_size={vocab_size}: it must be from {smallest} ({start}) to {LARGEST:,}")
    if not 0 <= min_frequency < 2**31:
        raise UserError(f"min_frequency={min_frequency}: it must be from 0, which keeps all, to below {2**31:,}")


class Symbols(Protocol):
    """A tokenizer whose ids are symbols of the text, words or characters, as a network that copies needs."""

    @property
    def vocab_size(self) -> int:
        """Ids in all."""

    def cut(self, text: str) -> Sequence[str]:
        """Return the symbols of a text, known or not."""

    def lookup(self, symbols: Sequence[str]) -> list[int]:
        """Return the id of each symbol, UNK of an unknown one."""

    def spell(self, ids: Sequence[int], others: Sequence[str] = ()) -> str:
        """Return the text of ids, of which those from ``vocab_size`` on are ``others``."""


class Tokenizer(ABC):
    """Text to ids and back.

    Ids 0 to 3 are PAD, BOS, EOS and UNK. ``encode`` never emits the first three, whatever the text says: a literal
    ``</s>`` is text.
    """

    needs_training = True
    """False for a vocabulary that is given beforehand."""

    @property
    @abstractmethod
    def vocab_size(self) -> int:
        """Ids in all, the four special ones included."""

    @abstractmethod
    def train(self, texts: Iterable[str]) -> None:
        """Learn the vocabulary from a stream of texts, which may be larger than memory."""

    @abstractmethod
    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, without BOS and EOS."""

    @property
    def samples(self) -> bool:
        """True if training reads each text in other pieces in each epoch, by ``sample``."""
        return False

    def sample(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text in pieces drawn at random, for training; as ``encode`` where nothing is drawn."""
        return self.encode(texts)

    @abstractmethod
    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """The text of each row of ids; PAD, BOS and EOS are left out, UNK shows as ``<unk>``."""

    @abstractmethod
    def state(self) -> str:
        """Return the text that ``load`` needs: it travels in the checkpoint."""

    @classmethod
    @abstractmethod
    def load(cls, state: str) -> Self:
        """The trained tokenizer whose ``state`` this is."""

    def frozen(self) -> dict[str, str]:
        """Class and state, as strings."""
        cls = type(self)
        return {"class_path": full_name(cls), "state": self.state()}

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """Each id as a printable piece, a space shown as ▁."""
        texts = self.decode([[i] for i in ids])
        return [
            SPECIALS[i] if i < len(SPECIALS) else text.replace(" ", "▁") for i, text in zip(ids, texts, strict=True)
        ]

    def vocabulary(self) -> list[str]:
        """Return the name of each id, PAD, BOS, EOS and UNK first, for other programs."""
        return self.tokens(range(self.vocab_size))

    def identities(self) -> list[str]:
        """Return a string for each id that equals another vocabulary's where both ids are the same symbol."""
        return self.vocabulary()

    def symbols(self) -> Symbols | None:
        """Itself, where an id is a symbol that may be unknown and so worth copying: a word, a character."""
        return None

    def options(self) -> dict[str, Any]:
        """The constructor's arguments: the public attributes, where a subclass does not say otherwise."""
        return {key: value for key, value in vars(self).items() if not key.startswith("_")}

    def spec(self) -> str:
        """Return what decides, with the texts, what training gives: class, options, and a user's own source file.

        The classes of this package have ``data.cache.FORMAT`` as their version instead.
        """
        cls = type(self)
        ours = cls.__module__.partition(".")[0] == __name__.partition(".")[0]
        file = None if ours else getattr(sys.modules[cls.__module__], "__file__", None)
        source = Path(file).read_text(encoding="utf-8") if file else ""
        return digest(cls.__qualname__, json.dumps(self.options(), sort_keys=True), source)


def thaw(frozen: dict[str, str], file: object = "a checkpoint") -> Tokenizer:
    """Return the tokenizer that was ``frozen``.

    Args:
        frozen: class and state.
        file: where they stand, for the message.

    Raises:
        UserError: its class is not known and not trusted, or the state is not one of its own.
    """
    cls = lookup(frozen["class_path"], Tokenizer, file)  # type: ignore[type-abstract]
    try:
        return cls.load(frozen["state"])
    except UserError:
        raise
    except Exception as error:  # whatever a parser of hostile or damaged text raises
        raise UserError(f"{file}: its state of a {cls.__name__} tokenizer cannot be read ({error})") from error
