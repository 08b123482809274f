"""Minimum Bayes risk decoding. N different outputs of a sentence."""

from collections import Counter
from collections.abc import Callable

import torch

from s2s_lightning.decoding.sampling import Sampling
from s2s_lightning.decoding.search import Decoding, Hypothesis, Tools
from s2s_lightning.decoding.utility import ChrF, Utility
from s2s_lightning.decoding.wrapper import Around
from s2s_lightning.errors import check_at_least


class MBR(Around):
    """Minimum Bayes risk: the output that is best on average if any of the others were right.

    score(y) = 1 / M * sum_i utility(y, y_i) over the M outputs of another search, each of which is a candidate and
    counts as a reference as often as it was found. Over samples it estimates the expected utility under the model
    (Eikema & Aziz, 2022, arXiv:2108.04718); over the n best of a beam all count alike. ``log_prob`` is the model's.
    Of equally good outputs the most probable comes first. Words copied from the source are all one unknown word to it.

    Args:
        search: where the outputs come from; ``Sampling`` of 32 by default. All that it returns is used: raise its
            num_samples or n_best.
        utility: ``ChrF`` by default.
        n_best: outputs returned for a sentence at most.

    Raises:
        UserError: n_best below 1.
    """

    def __init__(self, search: Decoding | None = None, *, utility: Utility | None = None, n_best: int = 1) -> None:
        check_at_least(1, n_best=n_best)
        super().__init__(search or Sampling(num_samples=32))
        self.utility = utility or ChrF()
        self.num_outputs = n_best
        self.decode: Callable[[list[int]], str] | None = None

    def attach(self, tools: Tools) -> None:
        super().attach(tools)
        self.decode = tools.decode

    def chosen(self, found: list[Hypothesis]) -> list[Hypothesis]:
        assert self.decode is not None, "attach() must come first: a utility is of texts"
        times = Counter((*h.tokens, h.finished) for h in found)
        distinct = list({(*h.tokens, h.finished): h for h in found}.values())  # in the order of ``times``
        utility = self.utility([self.decode(h.tokens) for h in distinct])  # (N, N)
        expected = utility @ torch.tensor(list(times.values()), dtype=utility.dtype) / len(found)
        scored = [h._replace(score=score) for h, score in zip(distinct, expected.tolist(), strict=True)]
        return sorted(scored, key=lambda h: (-h.score, -h.log_prob))[: self.num_outputs]
