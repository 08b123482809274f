"""Sources that are too long: they are split, truncated, or refused."""

import re
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from s2s_lightning.errors import UserError
from s2s_lightning.inference.generate.requests import Request

Rule = Literal["split", "truncate", "error"]

PLACES = (
    re.compile(r"(?<=[.!?…])\s+|(?<=[。！？])\s*"),  # noqa: RUF001  the ends of sentences
    re.compile(r"\s+"),
    re.compile(r"(?<=.)(?=.)", re.DOTALL),
)
"""Where a text may be cut, better places first; what they match is left out."""


class Piece(NamedTuple):
    """Piece of a source, as the model gets it.

    Attributes:
        request: it.
        separator: what stands between the output of the piece before and this one's.
    """

    request: Request
    separator: str = ""


class Cutter:
    """Cuts requests whose source is too long.

    Args:
        count: the tokens of a source.
        max_tokens: the most that a source may have, EOS not counted; None: any number.
        rule: what is done with those that have more.

    Attributes:
        cut: how many requests were split or truncated.
    """

    def __init__(self, count: Callable[[str], int], max_tokens: int | None, rule: Rule) -> None:
        self.count = count
        self.max_tokens = max_tokens
        self.rule = rule
        self.cut = 0

    def __call__(self, request: Request, number: int) -> list[Piece]:
        """The pieces of a request; ``number`` is its line, from 1.

        Raises:
            UserError: it is too long, and to be refused, or to be split although it has constraints; or no cut makes
                it fit, because a single character has too many tokens.
        """
        if self._fits(request.text):
            return [Piece(request)]
        if self.rule == "error":
            raise UserError(
                f"line {number}: {self.count(request.text):,} tokens, and --max_source_length is {self.max_tokens}; "
                "raise it, or take --long split or --long truncate"
            )
        if self.rule == "truncate":
            kept = self._beginning(request.text)
            self._check([kept] if kept else [request.text], number)
            self.cut += 1
            return [Piece(request._replace(text=kept))]
        if request.constraints:
            raise UserError(f"line {number} is to be split, and none knows which piece its constraints belong to")
        texts = list(self._split(request.text.strip()))
        self._check([text for text, _ in texts], number)
        self.cut += 1
        first, *others = (Piece(request._replace(text=text), separator) for text, separator in texts)
        return [first, *(piece._replace(request=piece.request._replace(prefix="")) for piece in others)]

    def _check(self, texts: list[str], number: int) -> None:
        """Raise a UserError if one of the pieces is too long all the same."""
        for text in texts:
            if not self._fits(text):
                raise UserError(
                    f"line {number}: {text[:20]!r} has {self.count(text):,} tokens and no place to cut it, and "
                    f"--max_source_length is {self.max_tokens}; raise it"
                )

    def _fits(self, text: str) -> bool:
        # always counted: normalization makes more tokens than the text has bytes (18 of U+FDFA's 3 under NFKC)
        return self.max_tokens is None or self.count(text) <= self.max_tokens

    def _beginning(self, text: str) -> str:
        """Return as much of the beginning as fits, whole words if there is one."""
        low, high = 0, len(text)  # text[:low] fits, text[:high] does not
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._fits(text[:middle]) else (low, middle)
        kept = text[:low]
        return kept if text[low : low + 1].isspace() else re.sub(r"(?<=\S)\s+\S*$", "", kept)

    def _split(self, text: str, separator: str = "") -> Iterator[tuple[str, str]]:
        """Halves, and halves of halves, each with what stands before it: cut at the best place nearest the middle."""
        cuts: list[re.Match[str]] = []
        if not self._fits(text):
            found = ([m for m in place.finditer(text, 1) if m.end() < len(text)] for place in PLACES)
            cuts = next(filter(None, found), [])
        if not cuts:
            yield text, separator
            return
        cut = min(cuts, key=lambda match: abs(match.start() + match.end() - len(text)))
        yield from self._split(text[: cut.start()], separator)
        yield from self._split(text[cut.end() :], " " if cut.group() else "")
