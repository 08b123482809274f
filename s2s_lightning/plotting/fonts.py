"""Fonts of pictures: matplotlib looks for each glyph in one installed font after the other.

matplotlib shapes right-to-left and joined letters itself from version 3.11 on (libraqm).
"""

import logging
import re
import sys
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

from matplotlib import font_manager

FIRST = (
    *("DejaVu Sans", "Noto Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans Arabic", "Noto Sans Hebrew"),
    *("Noto Sans Devanagari", "WenQuanYi Zen Hei", "Arial Unicode MS", "Hiragino Sans", "Microsoft YaHei"),
)
"""Fonts that go well together; any other comes after them."""

PLACEHOLDERS = ("Last Resort", "Adobe Blank", "Unicode BMP Fallback")
"""Fonts that have a box or nothing for every character begin so."""

_noted: set[str] = set()
"""The missing characters that have been reported."""


@cache
def families() -> list[str]:
    """Return the names of the installed fonts, the preferred ones first."""
    installed = {entry.name for entry in font_manager.fontManager.ttflist if not entry.name.startswith(PLACEHOLDERS)}
    return [*(name for name in FIRST if name in installed), *sorted(installed - set(FIRST))]


@contextmanager
def one_line_for_missing_glyphs() -> Iterator[None]:
    """Report what no installed font has in one line, once in a process, instead of a warning for each glyph."""
    logger = logging.getLogger("matplotlib.font_manager")  # a line for each font of another weight
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            yield
    finally:
        logger.setLevel(level)
    messages = [str(each.message) for each in found]
    missing = {chr(int(match[1])) for text in messages if (match := re.match(r"Glyph (\d+) ", text))}
    for each in found:
        if not str(each.message).startswith("Glyph "):
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
    if missing and not _noted:
        _noted.update(missing)
        print(note(sorted(missing)), file=sys.stderr)


def note(missing: Sequence[str]) -> str:
    """Return one line about missing characters."""
    shown = " ".join(missing[:8]) + (" ..." if len(missing) > 8 else "")
    scripts = sorted({unicodedata.name(character, "?").split()[0] for character in missing})
    return (
        f"no installed font has {len(missing)} of the characters to draw ({', '.join(scripts[:4])}: {shown}): "
        "pictures show boxes; a font that has them, such as Noto Sans CJK, need only be installed"
    )
