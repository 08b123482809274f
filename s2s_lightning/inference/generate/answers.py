"""Answers: the outputs for a request, each with the details that were asked for."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from s2s_lightning.inference.trained import Output

if TYPE_CHECKING:
    from numpy.typing import NDArray

Pairs = Sequence[tuple[int, int]]


class Answer(NamedTuple):
    """One output. What was not asked for is empty, or None.

    Attributes:
        output: it.
        source: the pieces of its source, EOS last.
        tokens: its own pieces, EOS last if it was emitted.
        log_probs: of each of the tokens.
        alignment: for tokens, EOS aside, the piece of the source with the most attention: (place in source, in tokens).
        weights: attention (T, S).
    """

    output: Output
    source: Sequence[str] = ()
    tokens: Sequence[str] = ()
    log_probs: Sequence[float] = ()
    alignment: Pairs = ()
    weights: "NDArray[np.float32] | None" = None


BLANK = Answer(Output("", 0.0, 0.0, True, []))
"""To a request that asks nothing; no model was asked."""


def joined(pieces: Sequence[Sequence[Answer]], separators: Sequence[str]) -> list[Answer]:
    """The answers to a request from those to its pieces: the k-th best of each make the k-th best of all.

    A piece with fewer answers than others gives its last one again.
    """
    number = max(len(answers) for answers in pieces)
    return [join([answers[min(k, len(answers) - 1)] for answers in pieces], separators) for k in range(number)]


def join(answers: Sequence[Answer], separators: Sequence[str]) -> Answer:
    """One answer after the other; log-probabilities and scores are added."""
    if len(answers) == 1:
        return answers[0]
    outputs = [answer.output for answer in answers]
    text = "".join(separator + output.text for separator, output in zip(separators, outputs, strict=True))
    output = Output(
        text,
        sum(o.log_prob for o in outputs),
        sum(o.score for o in outputs),
        all(o.finished for o in outputs),
        [i for o in outputs for i in o.ids],
    )
    return Answer(
        output,
        [piece for answer in answers for piece in answer.source],
        [piece for answer in answers for piece in answer.tokens],
        [value for answer in answers for value in answer.log_probs],
        _shifted(answers),
        _diagonal([answer.weights for answer in answers]),
    )


def _shifted(answers: Sequence[Answer]) -> Pairs:
    pairs: list[tuple[int, int]] = []
    source = target = 0
    for answer in answers:
        pairs += [(i + source, j + target) for i, j in answer.alignment]
        source, target = source + len(answer.source), target + len(answer.tokens)
    return pairs


def _diagonal(blocks: Sequence["NDArray[np.float32] | None"]) -> "NDArray[np.float32] | None":
    """One matrix with the others along its diagonal: no piece looks at another's source."""
    real = [block for block in blocks if block is not None]
    if len(real) < len(blocks):
        return None
    whole = np.zeros(np.sum([block.shape for block in real], 0), np.float32)
    row = column = 0
    for block in real:
        whole[row : row + block.shape[0], column : column + block.shape[1]] = block
        row, column = row + block.shape[0], column + block.shape[1]
    return whole
