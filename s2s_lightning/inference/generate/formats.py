"""Formats of answers: lines of text, or JSON."""

import json
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from s2s_lightning.inference.generate.answers import Answer
from s2s_lightning.inference.generate.requests import Request

SEPARATOR = " ||| "
"""Between the fields of a line, as in the n-best lists of Moses."""


class Fields(NamedTuple):
    """Fields that are written of each answer beside its text.

    Attributes:
        several: all answers of a request, each with its index and its score; otherwise the best alone.
        scores: what the search ranked by, and the log-probability.
        tokens: the log-probability of each token.
        alignment: which source piece each token was aligned to.
    """

    several: bool = False
    scores: bool = False
    tokens: bool = False
    alignment: bool = False


Format = Callable[[int, Request, Sequence[Answer]], str]
"""(index from 0, request, answers) -> its lines, each with its end."""


def as_text(fields: Fields, index: int, request: Request, answers: Sequence[Answer]) -> str:
    """A line for each answer, in fields if more than the text is asked for."""
    chosen = answers if fields.several else answers[:1]
    return "".join(SEPARATOR.join(_columns(fields, index, answer)) + "\n" for answer in chosen)


def _columns(fields: Fields, index: int, answer: Answer) -> list[str]:
    output = answer.output
    columns = [str(index), one_line(output.text)] if fields.several else [one_line(output.text)]
    if fields.several or fields.scores:
        columns.append(f"{output.score:.6f}")
    if fields.scores:
        columns.append(f"{output.log_prob:.6f}")
    if fields.tokens:
        columns.append(" ".join(f"{value:.6f}" for value in answer.log_probs))
    if fields.alignment:
        columns.append(pharaoh(answer))
    return columns


def one_line(text: str) -> str:
    """One line, even when the model says a line break: a line of output belongs to a line of input."""
    return text.replace("\n", " ").replace("\r", " ")


def pharaoh(answer: Answer) -> str:
    """Pairs source-target, counted from 0, as word aligners write them."""
    return " ".join(f"{i}-{j}" for i, j in answer.alignment)


def as_json(fields: Fields, index: int, request: Request, answers: Sequence[Answer]) -> str:
    """One object, in which numbers that JSON does not have are null."""
    chosen = answers if fields.several else answers[:1]
    content = {"index": index, "source": request.text, "outputs": [_object(fields, answer) for answer in chosen]}
    return json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n"


def _object(fields: Fields, answer: Answer) -> dict[str, Any]:
    output = answer.output
    content: dict[str, Any] = {
        "text": output.text,
        "log_prob": _number(output.log_prob),
        "score": _number(output.score),
        "finished": output.finished,
    }
    if fields.tokens or fields.alignment:
        content["tokens"] = answer.tokens
    if fields.tokens:
        content["token_log_probs"] = [_number(value) for value in answer.log_probs]
    if fields.alignment:
        content["source_tokens"] = answer.source
        content["alignment"] = answer.alignment
    return content


def _number(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None
