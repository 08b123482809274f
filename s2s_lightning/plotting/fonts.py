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


_found: dict[str, str | None] = {}
"""The first font that has a character, None where none has: opening all fonts takes a second or so."""


def fonts_for(text: str) -> Fonts:
    """As few of the installed fonts as draw all of the text that can be drawn."""
    characters = {character for character in text if unicodedata.category(character) not in INVISIBLE}
    _look_up(characters - _found.keys())
    needed = {_found[character] for character in characters}
    names = [name for name, _ in _installed() if name in needed]
    return Fonts(names or [_installed()[0][0]], {c for c in characters if _found[c] is None})


def note(missing: Iterable[str]) -> str:
    """One line about them."""
    characters = sorted(missing)
    shown = " ".join(characters[:8]) + (" ..." if len(characters) > 8 else "")
    scripts = sorted({unicodedata.name(character, "?").split()[0] for character in characters})
    return (
        f"no installed font has {len(characters)} of the characters to draw ({', '.join(scripts[:4])}: {shown}): "
        "pictures show boxes; a font that has them, such as Noto Sans CJK, need only be installed"
    )


def _look_up(characters: set[str]) -> None:
    left = set(characters)
    for name, path in _installed():
        if not left:
            break
        having = _having(path, left)
        _found.update(dict.fromkeys(having, name))
        left -= having
    _found.update(dict.fromkeys(left, None))


def _having(path: str, characters: set[str]) -> set[str]:
    """Those that the font has a glyph of."""
    try:
        font = font_manager.get_font(path)
    except (OSError, RuntimeError):  # listed, but gone or broken since
        return set()
    return {character for character in characters if font.get_char_index(ord(character))}


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
