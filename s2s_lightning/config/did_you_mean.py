"""The right name for a misspelt one."""

from collections.abc import Iterable
from difflib import SequenceMatcher

ALIKE = 0.6
"""Ratio of equal characters from which two names are alike."""


def closest(name: str, candidates: Iterable[str]) -> str | None:
    """The candidate most like ``name``, or None when none is like it."""
    return _best((_likeness(name, candidate), candidate) for candidate in candidates)


def closest_key(key: str, candidates: Iterable[str]) -> str | None:
    """``closest`` of dotted keys, whose last part counts for itself too: ``lr`` finds ``optimizer.lr``."""
    return _best((max(_likeness(key, c), 0.95 * _likeness(_last(key), _last(c))), c) for c in candidates)


def did_you_mean(best: str | None, prefix: str = "") -> str:
    """``: did you mean X?``, or nothing when there is no suggestion."""
    return f": did you mean {prefix}{best}?" if best else ""


def _best(scored: Iterable[tuple[float, str]]) -> str | None:
    score, candidate = max(scored, default=(0.0, None), key=lambda pair: pair[0])
    return candidate if score >= ALIKE else None


def _likeness(a: str, b: str) -> float:
    return SequenceMatcher(None, a.lower(), b.lower()).ratio()


def _last(key: str) -> str:
    return key.rsplit(".", 1)[-1]
