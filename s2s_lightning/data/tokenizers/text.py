"""Normalisation of a text before it is cut into tokens."""

import unicodedata
from typing import Literal, NamedTuple

from s2s_lightning.files import check_text

Normalization = Literal["none", "NFC", "NFKC"]


class Reading(NamedTuple):
    """Lower case and Unicode form; nothing is changed by default."""

    lowercase: bool = False
    normalization: Normalization = "none"

    def __call__(self, text: str) -> str:
        check_text(text)
        if self.normalization != "none":
            text = unicodedata.normalize(self.normalization, text)
        return text.lower() if self.lowercase else text
