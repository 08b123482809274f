"""Utilities: the value of a text if another one is right. N texts, each of which is a hypothesis and a reference."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

CHAR_ORDER, BETA = 6, 2


class Utility(ABC):
    """Utility whose expectation minimum Bayes risk decoding maximises, in percent."""

    @abstractmethod
    def __call__(self, texts: Sequence[str]) -> Tensor:
        """(N, N) float64: in row i, column j that of text i if text j is right."""


class ChrF(Utility):
    """Sentence chrF of character n-grams (Popovic, 2015), as sacreBLEU computes it.

    chrF = 100 * (1 + b^2) P R / (b^2 P + R), b = 2, with the precision P and the recall R of n-grams, n = 1 to 6, each
    the mean over those n that both texts are long enough for. White space does not count.
    """

    def __call__(self, texts: Sequence[str]) -> Tensor:
        characters = ["".join(text.split()) for text in texts]
        n = range(1, CHAR_ORDER + 1)
        matches = torch.stack([overlaps([ngrams(text, order) for text in characters]) for order in n])  # (n, N, N)
        counts = matches.diagonal(dim1=1, dim2=2)  # (n, N): a text shares with itself all that it has
        said, right = counts.unsqueeze(2), counts.unsqueeze(1)
        both = (said > 0) & (right > 0)
        orders = both.sum(0).clamp(min=1)
        precision, recall = ((matches / x.clamp(min=1) * both).sum(0) / orders for x in (said, right))
        bottom = BETA**2 * precision + recall
        return 100 * (1 + BETA**2) * precision * recall / bottom.where(bottom > 0, 1.0)


def ngrams(sequence: Sequence[Hashable], n: int) -> list[Sequence[Hashable]]:
    """Return all n-grams of length n in their order, of a string or a tuple."""
    return [sequence[start : start + n] for start in range(len(sequence) - n + 1)]


def overlaps(bags: Sequence[Sequence[Hashable]]) -> Tensor:
    """(N, N) float64: how many items two bags share, each as often as it is in both.

    With the second occurrence of an item an item of its own, and so on, bags are sets: rows of a matrix of 0 and 1,
    and one product counts for all pairs at once.
    """
    places: dict[tuple[Hashable, int], int] = {}
    rows, columns = [], []
    for row, bag in enumerate(bags):
        seen: Counter[Hashable] = Counter()
        for item in bag:
            columns.append(places.setdefault((item, seen[item]), len(places)))
            rows.append(row)
            seen[item] += 1
    has = torch.zeros(len(bags), len(places), dtype=torch.float64)
    has[rows, columns] = 1.0
    return has @ has.T
