"""Requests: lines of text or JSON, with prefixes and constraints from files beside them."""

from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import Any, NamedTuple

from s2s_lightning.errors import UserError
from s2s_lightning.files import check_text, json_row


class Request(NamedTuple):
    """One sequence to generate from.

    Attributes:
        text: the source.
        prefix: what its outputs begin with.
        constraints: phrases that its outputs contain.
        attention: whether that of the best output is wanted.
    """

    text: str
    prefix: str = ""
    constraints: tuple[str, ...] = ()
    attention: bool = False

    @property
    def blank(self) -> bool:
        """True if it asks nothing."""
        return not (self.text.strip() or self.prefix or self.constraints)


def from_text(lines: Iterable[str], prefix: str = "") -> Iterator[Request]:
    """A request a line."""
    return (Request(line, prefix) for line in lines)


def from_jsonl(lines: Iterable[str], name: str) -> Iterator[Request]:
    """Yield a request for each JSON object: ``text`` and, optionally, ``prefix`` and a list ``constraints``.

    Blank lines behind the last object are none.

    Raises:
        UserError: a line is something else; ``name`` is that of the input.
    """
    blank = 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            blank = blank or number
            continue
        where = f"{name}, line {number}"
        content: Any = json_row(line, where) if line.lstrip().startswith("{") and not blank else None
        if not _is_request(content):
            raise UserError(
                f'{name}, line {blank or number}: not a request; it must be like {{"text": "...", "prefix": "...", '
                '"constraints": ["...", "..."]}, of which text alone is needed'
            )
        request = Request(content["text"], content.get("prefix", ""), tuple(content.get("constraints", ())))
        for text in (request.text, request.prefix, *request.constraints):
            check_text(text, where)
        yield request


def _is_request(content: Any) -> bool:
    if not isinstance(content, dict):
        return False
    phrases = content.get("constraints", [])
    texts = [content.get("text"), content.get("prefix", ""), *(phrases if isinstance(phrases, list) else [None])]
    return all(isinstance(text, str) for text in texts)


def with_prefixes(requests: Iterable[Request], lines: Iterable[str]) -> Iterator[Request]:
    """Each with the prefix of its line."""
    for request, line in _beside(requests, lines, "--prefixes"):
        yield request._replace(prefix=line)


def with_constraints(requests: Iterable[Request], lines: Iterable[str]) -> Iterator[Request]:
    """Each with the phrases of its line, tabs between them."""
    for request, line in _beside(requests, lines, "--constraints"):
        yield request._replace(constraints=tuple(filter(None, line.split("\t"))))


def _beside(requests: Iterable[Request], lines: Iterable[str], option: str) -> Iterator[tuple[Request, str]]:
    for number, (request, line) in enumerate(zip_longest(requests, lines), 1):
        if request is None or line is None:
            shorter = "the input" if request is None else option
            raise UserError(f"{shorter} ends before line {number:,}: {option} has a line for each of the input")
        yield request, line
