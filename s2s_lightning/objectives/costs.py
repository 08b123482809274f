"""Costs of a wrong output, as functions of token ids: from 0 for the reference itself upwards."""

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence

ORDER = 4


class Cost(ABC):
    """Cost of a hypothesis, given its reference; both without BOS and EOS."""

    @abstractmethod
    def __call__(self, hypothesis: Sequence[int], reference: Sequence[int]) -> float:
        """The cost."""


class BLEUCost(Cost):
    """1 - sentence BLEU of the ids, n-grams of 2 to 4 counted once more (Lin & Och, 2004), from 0 to 1.

    That of sacreBLEU with smoothing "add-k", k = 1. Ids are what the tokenizer makes: of subwords, it is BLEU of
    subwords.
    """

    def __call__(self, hypothesis: Sequence[int], reference: Sequence[int]) -> float:
        return 1 - sentence_bleu(hypothesis, reference)


class EditCost(Cost):
    """Edit distance over the length of the reference: the token error rate, which can be above 1."""

    def __call__(self, hypothesis: Sequence[int], reference: Sequence[int]) -> float:
        return edit_distance(hypothesis, reference) / max(1, len(reference))


def sentence_bleu(hypothesis: Sequence[int], reference: Sequence[int]) -> float:
    """Return a sentence's BLEU from 0 to 1; an empty hypothesis has 1 if the reference is empty, else 0."""
    if not hypothesis or not reference:
        return float(hypothesis == reference)
    log_precision = 0.0
    for n in range(1, ORDER + 1):
        said, right = _ngrams(hypothesis, n), _ngrams(reference, n)
        smoothing = int(n > 1)
        matches = (said & right).total() + smoothing
        if not matches:
            return 0.0
        log_precision += math.log(matches / (said.total() + smoothing)) / ORDER
    brevity = min(0.0, 1 - len(reference) / len(hypothesis))
    return math.exp(log_precision + brevity)


def _ngrams(tokens: Sequence[int], n: int) -> Counter[tuple[int, ...]]:
    return Counter(tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1))


def edit_distance(a: Sequence[int], b: Sequence[int]) -> int:
    """Insertions, deletions and substitutions from one to the other (Levenshtein, 1966)."""
    distances = list(range(len(b) + 1))
    for i, x in enumerate(a):
        before = distances
        distances = [i + 1]
        for j, y in enumerate(b):
            distances.append(min(before[j] + (x != y), before[j + 1] + 1, distances[j] + 1))
    return distances[-1]
