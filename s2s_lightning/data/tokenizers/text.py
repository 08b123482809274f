"""How a text is read before it is cut into tokens."""

import unicodedata
from typing import Literal, NamedTuple

Normalization = Literal["none", "NFC", "NFKC"]


class Reading(NamedTuple):
    """Lower case and Unicode form; nothing is changed by default."""

    lowercase: bool = False
    normalization: Normalization = "none"

    def __call__(self, text: str) -> str:
        if self.normalization != "none":
            text = unicodedata.normalize(self.normalization, text)
        return text.lower() if self.lowercase else text
