"""Outputs that ended: tensors as long as the search runs, hypotheses when it is over."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from torch import Tensor

from s2s_lightning import EOS, PAD
from s2s_lightning.decoding.search import Hypothesis


class Ended(NamedTuple):
    """The n best outputs of R sentences, best first.

    Attributes:
        place: (R,), where in the batch the sentence stood.
        tokens: (R, n, t), without BOS; EOS if it was emitted, then PAD.
        log_prob: (R, n).
        score: (R, n), -inf where a sentence has fewer than n.
    """

    place: Tensor
    tokens: Tensor
    log_prob: Tensor
    score: Tensor


def collect(ended: Iterable[Ended]) -> list[list[Hypothesis]]:
    """Return the hypotheses of all sentences of a batch, in its order, at least one for each.

    A diverged network has no better one than NaN or -inf: its validation shall still end, and show it.
    """
    found: dict[int, list[Hypothesis]] = {}
    for group in ended:
        for place, *columns in zip(*(x.tolist() for x in group), strict=True):
            rows = list(zip(*columns, strict=True))
            real = [row for row in rows if row[-1] != -math.inf]
            found[place] = [_hypothesis(*row) for row in real or rows[:1]]
    return [found[place] for place in range(len(found))]


def _hypothesis(emitted: list[int], log_prob: float, score: float) -> Hypothesis:
    tokens = [token for token in emitted if token not in (PAD, EOS)]
    return Hypothesis(tokens, log_prob, score, finished=EOS in emitted)
