"""The one or two tokenizers of a run: trained once, cached by what they were trained on, carried in checkpoints."""

import json
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from s2s_lightning.data.cache import FORMAT, cached, digest
from s2s_lightning.data.corpora import Corpus, pairs
from s2s_lightning.data.progress_bar import progress
from s2s_lightning.data.tokenizers import Tokenizer, thaw
from s2s_lightning.errors import UserError

Side = Literal["src", "tgt", "both"]


class Tokenizers(NamedTuple):
    """``tgt`` is None when one vocabulary serves both sides; ``reverse_source``: sources are read from their end."""

    src: Tokenizer
    tgt: Tokenizer | None
    reverse_source: bool = False

    @property
    def target(self) -> Tokenizer:
        """The tokenizer of the target side."""
        return self.src if self.tgt is None else self.tgt

    def state(self) -> dict[str, Any]:
        """Strings alone, so that a checkpoint loads with ``weights_only=True``."""
        tgt = None if self.tgt is None else self.tgt.frozen()
        return {"src": self.src.frozen(), "tgt": tgt, "reverse_source": self.reverse_source}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "Tokenizers":
        tgt = None if state["tgt"] is None else thaw(state["tgt"])
        return cls(thaw(state["src"]), tgt, state.get("reverse_source", False))

    def trained(self, corpus: Corpus, root: Path) -> "Tokenizers":
        """Return both tokenizers, trained on the training split or read from the cache below ``root``."""
        if self.tgt is None:
            return self._replace(src=_trained(self.src, corpus, "both", root))
        return self._replace(src=_trained(self.src, corpus, "src", root), tgt=_trained(self.tgt, corpus, "tgt", root))


def _trained(tokenizer: Tokenizer, corpus: Corpus, side: Side, root: Path) -> Tokenizer:
    if not tokenizer.needs_training:
        return tokenizer
    if not corpus.has("train"):
        raise UserError(
            f"{type(tokenizer).__name__} learns its vocabulary from a training split, and {type(corpus).__name__} "
            "has none; give one, or a checkpoint's tokenizers by --data.tokenizers_from"
        )
    key = digest(FORMAT, tokenizer.spec(), side, corpus.fingerprint("train"))
    train = partial(_train, tokenizer, _texts(corpus, side))
    return cached(root, f"tokenizers/{key}.json", train, partial(_reread, type(tokenizer)))


def _reread(cls: type[Tokenizer], path: Path) -> Tokenizer:
    """Load a tokenizer of a class that is known already: the cache names none."""
    return cls.load(json.loads(path.read_text(encoding="utf-8"))["state"])


def _train(tokenizer: Tokenizer, texts: Iterable[str], path: Path) -> None:
    tokenizer.train(progress(texts, f"Training {type(tokenizer).__name__}", "texts"))
    path.write_text(json.dumps(tokenizer.frozen()), encoding="utf-8")


def _texts(corpus: Corpus, side: Side) -> Iterator[str]:
    for pair in pairs(corpus, "train"):
        if side != "tgt":
            yield pair.src
        if side != "src":
            yield from pair.refs
