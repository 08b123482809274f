"""Which of the installed fonts draw a text: by the glyphs that they have, not by the name of a script.

matplotlib shapes right-to-left and joined letters itself from version 3.11 on (libraqm); before, they stand apart.
"""

import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from typing import NamedTuple

from matplotlib import font_manager

FIRST = (
    *("DejaVu Sans", "Noto Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans Arabic", "Noto Sans Hebrew"),
    *("Noto Sans Devanagari", "WenQuanYi Zen Hei", "Arial Unicode MS", "Hiragino Sans", "Microsoft YaHei"),
)
"""Those that go well together; any other comes after them."""
PLACEHOLDERS = ("Last Resort", "Adobe Blank", "Unicode BMP Fallback")
"""Fonts that have a box or nothing for every character begin so."""
INVISIBLE = {"Cc", "Cf", "Zs", "Zl", "Zp", "Cn", "Cs"}
"""Categories that need no glyph."""


class Fonts(NamedTuple):
    """What to draw a text with.

    Attributes:
        names: of the fonts, in the order in which a glyph is looked for.
        missing: the characters that none of the installed ones has.
    """

    names: list[str]
    missing: set[str]


def fonts_for(text: str) -> Fonts:
    """As few of the installed fonts as draw all of the text that can be drawn."""
    found = {character: _font(character) for character in set(text) if unicodedata.category(character) not in INVISIBLE}
    needed = {name for name in found.values() if name is not None}
    names = [name for name, _ in _installed() if name in needed]
    return Fonts(names or [_installed()[0][0]], {character for character, name in found.items() if name is None})


def note(missing: Iterable[str]) -> str | None:
    """One line about them, None if there are none."""
    characters = sorted(missing)
    if not characters:
        return None
    shown = " ".join(characters[:8]) + (" ..." if len(characters) > 8 else "")
    scripts = sorted({unicodedata.name(character, "?").split()[0] for character in characters})
    return (
        f"no installed font has {len(characters)} of the characters to draw ({', '.join(scripts[:4])}: {shown}): "
        "pictures show boxes; a font that has them, such as Noto Sans CJK, need only be installed"
    )


@cache
def _font(character: str) -> str | None:
    """The first font that has it."""
    return next((name for name, path in _installed() if _has(path, character)), None)


def _has(path: str, character: str) -> bool:
    try:
        return font_manager.get_font(path).get_char_index(ord(character)) != 0
    except (OSError, RuntimeError):  # listed, but gone or broken since
        return False


@cache
def _installed() -> list[tuple[str, str]]:
    """Name and file of each, the preferred first."""
    files = dict(_regular())
    rest = sorted(files.keys() - set(FIRST))
    return [(name, files[name]) for name in (*FIRST, *rest) if name in files]


def _regular() -> Iterator[tuple[str, str]]:
    """One file of each: of its upright, normal faces the first, any other where there is none."""
    entries = font_manager.fontManager.ttflist
    plain = [
        entry for entry in entries if entry.style == "normal" and str(entry.weight) in ("400", "normal", "regular")
    ]
    for entry in (*entries, *reversed(plain)):  # a later one replaces an earlier
        if not entry.name.startswith(PLACEHOLDERS):
            yield entry.name, entry.fname
