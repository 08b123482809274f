"""Vocabularies that exist already: a ``tokenizer.json``, or those of a checkpoint."""

import json
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self
from zipfile import is_zipfile

import torch
from tokenizers import Tokenizer as Backend

from s2s_lightning import UNK
from s2s_lightning.data.tokenizers.files import read_tokenizers
from s2s_lightning.data.tokenizers.tokenizer import SPECIALS, Symbols, Tokenizer, thaw
from s2s_lightning.errors import UserError
from s2s_lightning.files import check_text
from s2s_lightning.files.run_checkpoints import checkpoint_in
from s2s_lightning.trust.names import allow
from s2s_lightning.trust.signature import damage, is_own

USUAL_NAMES = {
    "pad": ("<pad>", "[PAD]", "<|pad|>"),
    "bos": ("<s>", "[CLS]", "<bos>", "[BOS]", "<|startoftext|>"),
    "eos": ("</s>", "[SEP]", "<eos>", "[EOS]", "<|endoftext|>"),
    "unk": ("<unk>", "[UNK]", "<|unk|>"),
}
"""How widespread tokenizers call PAD, BOS, EOS and UNK."""


class TokenizerFile(Tokenizer):
    """A ``tokenizer.json`` of the ``tokenizers`` library, used as it is.

    Its PAD, BOS, EOS and UNK are mapped onto ours (0 to 3), and a text that spells one of them is text. All its other
    ids follow in their order; special tokens of its own (``<2de>``, ``<sep>``) are one id each, as in the file.
    Truncation, padding, templates and dropout of the file are not applied.

    Args:
        path: the file.
        pad: the file's name of PAD; the usual names are found without it, and a missing one is no harm.
        bos: the file's name of BOS.
        eos: the file's name of EOS.
        unk: the file's name of UNK.
    """

    needs_training = False

    def __init__(
        self, path: str, pad: str | None = None, bos: str | None = None, eos: str | None = None, unk: str | None = None
    ) -> None:
        self.path = path
        self.pad = pad
        self.bos = bos
        self.eos = eos
        self.unk = unk

    @cached_property
    def _json(self) -> str:
        """Read when first needed: a checkpoint restores it without the file."""
        try:
            return Path(self.path).read_text(encoding="utf-8")
        except OSError as error:
            raise UserError(f"{self.path}: no tokenizer file can be read there ({error.strerror})") from error
        except UnicodeDecodeError as error:
            raise UserError(f"{self.path}: not a tokenizer.json: it is not UTF-8") from error

    @cached_property
    def _backend(self) -> Backend:
        backend = self._parsed(self._json)
        # The library cuts what it calls special where encode_special_tokens is on: so shall be our four alone.
        fixed = {token for token in self._fixed(backend.get_vocab(with_added_tokens=True)) if token is not None}
        backend = self._parsed(_with_specials(self._json, fixed))
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = True
        if getattr(backend.model, "dropout", None):
            backend.model.dropout = None
        return backend

    def _parsed(self, text: str) -> Backend:
        try:
            return Backend.from_str(text)
        except Exception as error:  # the library raises nothing more specific
            raise UserError(f"{self.path}: not a tokenizer.json of the tokenizers library ({error})") from error

    @cached_property
    def _theirs(self) -> list[int | None]:
        """Their id of each of ours; None where the file has no such special token."""
        vocabulary = self._backend.get_vocab(with_added_tokens=True)
        specials = [None if token is None else vocabulary[token] for token in self._fixed(vocabulary)]
        return [*specials, *sorted(set(vocabulary.values()) - set(specials))]

    def _fixed(self, vocabulary: dict[str, int]) -> list[str | None]:
        """The file's names of PAD, BOS, EOS and UNK; None for one that it lacks."""
        for name in USUAL_NAMES:
            if (chosen := getattr(self, name)) is not None and chosen not in vocabulary:
                raise UserError(f"{name}={chosen}: {self.path} has no such token")
        return [
            next((token for token in (getattr(self, name), *usual) if token in vocabulary), None)
            for name, usual in USUAL_NAMES.items()
        ]

    @cached_property
    def _ours(self) -> dict[int, int]:
        """Our id of each of theirs. A text that spells a special token gets UNK."""
        return {theirs: max(ours, UNK) for ours, theirs in enumerate(self._theirs) if theirs is not None}

    @property
    def vocab_size(self) -> int:
        return len(self._theirs)

    def train(self, texts: Iterable[str]) -> None:
        """There is nothing to learn."""

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        texts = list(map(check_text, texts))
        try:
            encodings = self._backend.encode_batch_fast(texts, add_special_tokens=False)
        except Exception as error:  # an unknown symbol, say, and no UNK in the file
            raise UserError(f"{self.path}: this tokenizer cannot read a text ({error})") from error
        return [[self._ours[i] for i in encoding.ids] for encoding in encodings]

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        rows = [[theirs for i in row if i >= UNK and (theirs := self._theirs[i]) is not None] for row in ids]
        return self._backend.decode_batch(rows, skip_special_tokens=False)

    def vocabulary(self) -> list[str]:
        """The file's own names of its pieces, but for the special ones."""
        return [*SPECIALS, *(str(self._backend.id_to_token(i)) for i in self._theirs[len(SPECIALS) :] if i is not None)]

    def state(self) -> str:
        return json.dumps({"options": self.options(), "backend": self._json})

    @classmethod
    def load(cls, state: str) -> Self:
        content = json.loads(state)
        tokenizer = cls(**content["options"])
        tokenizer._json = content["backend"]
        return tokenizer


def _with_specials(text: str, specials: set[str]) -> str:
    """Return a ``tokenizer.json`` in which these of its added tokens are special, and no others.

    The rest of the text stays as it is: the library reads a float's last digit not always back.
    """
    if (found := re.search(r'"added_tokens"\s*:\s*(?=\[)', text)) is None:
        return text
    tokens, end = json.JSONDecoder().raw_decode(text, found.end())
    tokens = [{**token, "special": token["content"] in specials} for token in tokens]
    return text[: found.end()] + json.dumps(tokens) + text[end:]


class CheckpointFile(str):
    """The name of a checkpoint where a tokenizer is expected: it ends in .ckpt, or is a folder's path with a slash."""

    @classmethod
    def named(cls, value: Any) -> Self:
        """Raises ValueError for anything else."""
        # a bare word is always the name of a class: a folder called BPE must not replace BPE
        if not (isinstance(value, str) and (value.endswith(".ckpt") or ("/" in value and Path(value).is_dir()))):
            raise ValueError("not the name of a checkpoint, which ends in .ckpt, nor the path of a run's folder")
        return cls(value)

    def __fspath__(self) -> str:
        """A path to jsonargparse, which would else read the file as YAML."""
        return str(self)


class FromCheckpoint(Tokenizer):
    """The tokenizer of one side of a checkpoint.

    Args:
        checkpoint: file of a run.
        side: which of its two; with a joint vocabulary they are the same.
    """

    needs_training = False

    def __init__(self, checkpoint: str, side: Literal["src", "tgt"] = "src") -> None:
        self.checkpoint = checkpoint
        self.side = side

    @cached_property
    def _inner(self) -> Tokenizer:
        frozen = frozen_tokenizers(self.checkpoint)
        return thaw(frozen[self.side] or frozen["src"])

    @property
    def vocab_size(self) -> int:
        return self._inner.vocab_size

    def train(self, texts: Iterable[str]) -> None:
        """There is nothing to learn."""

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        return self._inner.encode(texts)

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        return self._inner.decode(ids)

    def tokens(self, ids: Sequence[int]) -> list[str]:
        return self._inner.tokens(ids)

    def vocabulary(self) -> list[str]:
        return self._inner.vocabulary()

    def identities(self) -> list[str]:
        return self._inner.identities()

    def symbols(self) -> Symbols | None:
        return self._inner.symbols()

    def frozen(self) -> dict[str, str]:
        return self._inner.frozen()  # the same vocabulary, whichever way it came

    def state(self) -> str:
        return json.dumps({"options": self.options(), "inner": self._inner.frozen()})

    @classmethod
    def load(cls, state: str) -> Self:
        content = json.loads(state)
        tokenizer = cls(**content["options"])
        tokenizer._inner = thaw(content["inner"])
        return tokenizer


def opened(tokenizer: str | Tokenizer | None, side: Literal["src", "tgt"]) -> Tokenizer | None:
    """The tokenizer of one side of a checkpoint, if it is named; any other as it is."""
    return FromCheckpoint(tokenizer, side) if isinstance(tokenizer, str) else tokenizer


def frozen_tokenizers(checkpoint: str) -> dict[str, Any]:
    """``src`` and ``tgt`` (None when joint) ``frozen``.

    Raises:
        UserError: no such file, or not a checkpoint of ours.
    """
    checkpoint = str(checkpoint_in(checkpoint))
    if Path(checkpoint).is_dir():
        return read_tokenizers(Path(checkpoint))
    if not Path(checkpoint).is_file():
        raise UserError(f"{checkpoint}: no such checkpoint")
    if not is_zipfile(checkpoint) or damage(checkpoint, "/data.pkl"):
        raise UserError(
            f"{checkpoint}: not a checkpoint, or a damaged one; give one that s2s_lightning fit has written"
        )
    content = torch.load(checkpoint, map_location="meta", weights_only=True)
    if is_own(checkpoint):
        allow({key: part for key, part in content.items() if key != "state_dict"})
    states = [part["tokenizers"] for part in content.values() if isinstance(part, dict) and "tokenizers" in part]
    if not states:
        raise UserError(f"{checkpoint}: it holds no tokenizers; give a checkpoint that s2s_lightning fit has written")
    frozen: dict[str, Any] = states[0]
    return frozen
