"""How a text is read before it is cut into tokens."""

import unicodedata
from typing import Literal, NamedTuple

from s2s_lightning.errors import UserError

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


def check_text(text: str, where: str = "") -> str:
    """Return the text.

    Raises:
        UserError: it has half of a surrogate pair, which no UTF-8 file can hold; JSON can spell one.
    """
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            place = f"{where}: " if where else ""
            raise UserError(
                f"{place}character {error.start + 1} of a text is {text[error.start]!a}, half of a surrogate pair "
                "and no character; repair the text"
            ) from error
    return text
