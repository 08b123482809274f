"""Bad words: texts that no output contains, in whatever pieces a model writes them.

A tokenizer cuts a word in one way, but a model can write it in others. So outputs are compared as text: the tokens that
could complete a bad word are found by their own texts, and each is tried by decoding the output with it.
"""

from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from s2s_lightning import EOS
from s2s_lightning.errors import UserError

BROKEN = "\ufffd"
"""Character in the place of bytes that are no character yet."""


class BadWords:
    """Texts that no output contains, wherever they stand; one that begins with a space is one at a word's beginning.

    Args:
        words: the texts.
        decode: target ids to text.
    """

    def __init__(self, words: Sequence[str], decode: Callable[[list[int]], str]) -> None:
        self.words = tuple(dict.fromkeys(words))
        self._decode = decode
        self._size = 0

    def count(self, text: str) -> int:
        """Return how many bad words a text contains; before its first word stands a space."""
        return sum(f" {text}".count(word) for word in self.words)

    def refuse(self, kind: str, ids: Sequence[int]) -> None:
        """Raise UserError for ids that an output must contain, and whose text has a bad word."""
        text = self._decode(list(ids))
        if word := next((word for word in self.words if word in f" {text}"), None):
            raise UserError(f"the {kind} {text!r} contains the bad word {word!r}: leave one of them out")

    def forbid(self, scores: Tensor, tokens: Tensor) -> None:
        """Set the scores (N, V) of tokens that complete a bad word after tokens (N, t), BOS first, to -inf."""
        self._size = scores.shape[-1]
        places: list[tuple[int, int]] = []
        for row, ids in enumerate(tokens[:, 1:].tolist()):
            if EOS not in ids:
                places += [(row, token) for token in self._completing(ids)]
        if places:
            rows, columns = torch.tensor(places, device=scores.device).unbind(1)
            scores[rows, columns] = -torch.inf

    def _completing(self, ids: list[int]) -> list[int]:
        """Return the tokens with which an output would contain one more bad word."""
        text = self._decode(ids)
        before, candidates = self.count(text), set(self._whole)
        for (word, cut), tokens in self._ends.items():
            begun = word[:cut]
            if f" {text}".endswith(begun) or text.rstrip().endswith(begun.rstrip()):
                candidates |= tokens
        if text.endswith(BROKEN):
            candidates |= self._parts_of_characters
        return [token for token in candidates if self.count(self._decode([*ids, token])) > before]

    @cached_property
    def _texts(self) -> list[set[str]]:
        """The texts that each token may add to an output: alone, after another one, without white space."""
        found: list[set[str]] = []
        for token in range(self._size):
            alone, twice = self._decode([token]), self._decode([token, token])
            forms = {alone, twice[len(alone) :] if twice.startswith(alone) else twice, alone.removeprefix("##")}
            parts = {part for form in forms for part in (form, form.strip(), f" {form}") if part}
            found.append(parts if token > EOS else set())
        return found

    @cached_property
    def _whole(self) -> set[int]:
        """Tokens that contain a bad word."""
        return {t for t, forms in enumerate(self._texts) if any(word in form for word in self.words for form in forms)}

    @cached_property
    def _ends(self) -> dict[tuple[str, int], set[int]]:
        """(word, characters of it that stand already) -> tokens that may be the rest."""
        cuts = [(word, cut) for word in self.words for cut in range(1, len(word))]
        return {(word, cut): self._beginning_with({word[cut:], word[cut:].lstrip()}) for word, cut in cuts}

    def _beginning_with(self, rests: set[str]) -> set[int]:
        wanted = tuple(filter(None, rests))
        return {t for t, forms in enumerate(self._texts) if any(form.startswith(wanted) for form in forms)}

    @cached_property
    def _parts_of_characters(self) -> set[int]:
        """Tokens that are bytes of a character."""
        return {token for token, forms in enumerate(self._texts) if any(BROKEN in form for form in forms)}
