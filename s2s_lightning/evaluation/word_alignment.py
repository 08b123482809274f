"""Word alignments: gold ones from a file, those that attention makes, and how far apart they are.

Shape letters: M maps of attention, T target tokens, S source tokens, W words.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from s2s_lightning.errors import UserError
from s2s_lightning.files import open_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

Link = tuple[int, int]
"""Source word and target word, counted from 0."""

LINK = re.compile(r"(\d+)([-p?])(\d+)")
NO_WORD = -1


class Gold(NamedTuple):
    """Alignment links of a pair of sentences by human annotators; the sure links are possible ones, too."""

    sure: frozenset[Link]
    possible: frozenset[Link]


class Counts(NamedTuple):
    """Sums over sentences that the error rate is a function of; each M numbers, but ``sure`` one.

    Attributes:
        links: |A|, of the alignment that is judged.
        in_sure: |A & S|.
        in_possible: |A & P|.
        sure: |S|.
    """

    links: "NDArray[np.int64]"
    in_sure: "NDArray[np.int64]"
    in_possible: "NDArray[np.int64]"
    sure: int


def read_gold(path: str | Path, option: str = "gold", one_based: bool = False) -> list[Gold]:
    """A file in Pharaoh's format, a line a pair: ``i-j`` a sure link, ``ipj`` or ``i?j`` a possible one, source first.

    Args:
        path: of the file.
        option: what it was given by, for errors.
        one_based: whether its words are counted from 1.

    Raises:
        UserError: it cannot be read, or something in it is no link.
    """
    with open_file(str(path)) as file:
        try:
            lines = file.read().decode().removesuffix("\n").split("\n")
        except UnicodeDecodeError as error:
            raise UserError(f"{option}={path} is not UTF-8") from error
    return [_gold(line, f"{option}={path}, line {number}", int(one_based)) for number, line in enumerate(lines, 1)]


def _gold(line: str, place: str, first: int) -> Gold:
    sure, possible = set(), set()
    for text in line.split():
        match = LINK.fullmatch(text)
        if match is None or min(int(match[1]), int(match[3])) < first:
            raise UserError(
                f"{place}: {text!r} is no link; i-j is a sure one of source word i and target word j, ipj or i?j a "
                f"possible one, words counted from {first}"
            )
        link = (int(match[1]) - first, int(match[3]) - first)
        possible.add(link)
        if match[2] == "-":
            sure.add(link)
    return Gold(frozenset(sure), frozenset(possible))


def words_of(ids: Sequence[int], decode: Callable[[list[list[int]]], list[str]]) -> list[int]:
    """The white-space separated word that each token belongs to: the last that has begun when the text ends with it.

    A token that is nothing but white space belongs to none, ``NO_WORD``. The text of each beginning is decoded, because
    a tokenizer may say where words begin in the piece before, in the piece itself or in neither.
    """
    beginnings = decode([list(ids[: place + 1]) for place in range(len(ids))])
    alone = decode([[i] for i in ids])
    return [len(text.split()) - 1 if token.strip() else NO_WORD for text, token in zip(beginnings, alone, strict=True)]


def matrix(links: frozenset[Link], words: tuple[int, int]) -> "NDArray[np.bool_]":
    """The links as (source words, target words)."""
    array = np.zeros(words, dtype=bool)
    if links:
        array[tuple(np.array(sorted(links)).T)] = True
    return array


def attended(maps: "NDArray[Any]", src_words: Sequence[int], tgt_words: Sequence[int]) -> "NDArray[np.bool_]":
    """The word alignments (M, W source, W target) of maps (M, T, S) of attention between tokens.

    A target token is linked to the source token with the most attention, the first of equals. Two words are linked if
    any of their tokens are (Dou & Neubig, 2021, 2.1, arXiv:2101.08231); each token says of which word it is a part.
    """
    words = (1 + max(each, default=NO_WORD) for each in (src_words, tgt_words))
    linked = np.zeros((len(maps), *words), dtype=bool)
    if not len(src_words):
        return linked
    best = np.asarray(src_words)[maps.argmax(-1)]  # (M, T)
    said = np.broadcast_to(tgt_words, best.shape)
    real = (best != NO_WORD) & (said != NO_WORD)
    linked[np.nonzero(real)[0], best[real], said[real]] = True
    return linked


def count(linked: "NDArray[np.bool_]", gold: Gold) -> Counts:
    """Count the links of alignments (M, W source, W target) of one pair."""
    sure, possible = (matrix(links, linked.shape[1:]) for links in gold)
    links, in_sure, in_possible = ((linked & right).sum((1, 2), dtype=np.int64) for right in (True, sure, possible))
    return Counts(links, in_sure, in_possible, int(sure.sum()))


def error_rate(counts: Sequence[Counts]) -> "NDArray[np.float64]":
    """Alignment error rate (M,), in percent: 1 - (|A & S| + |A & P|) / (|A| + |S|) (Och & Ney, 2003, 5).

    Sums are over all the pairs. Of nothing on both sides it is 0.
    """
    links, in_sure, in_possible, sure = (sum(column) for column in zip(*counts, strict=True))
    total = np.asarray(links + sure, dtype=np.float64)
    right = np.asarray(in_sure + in_possible, dtype=np.float64)
    return 100 * (1 - np.divide(right, total, out=np.ones_like(total), where=total > 0))
