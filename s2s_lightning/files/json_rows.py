"""Rows of JSON lines, and text that a file can hold."""

import json
from collections import Counter
from typing import Any

from s2s_lightning.errors import UserError


def json_row(line: str, where: str) -> Any:
    """Return the value of a line of JSON.

    Raises:
        UserError: it is no JSON, has a key twice, or is beyond what Python reads, naming ``where``.
    """
    try:
        return json.loads(line, object_pairs_hook=_without_repetition)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: not JSON ({error})") from error
    except ValueError as error:  # a key twice, an integer of thousands of digits
        raise UserError(f"{where}: {str(error).partition(';')[0]}") from error
    except RecursionError as error:
        raise UserError(f"{where}: JSON that is nested too deep; a row maps columns to texts") from error


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        repeated = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"key {repeated!r} stands twice in an object, keep one")
    return record


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
