"""Greedy search. R rows: the sentences that have not ended."""

import torch
from torch import Tensor

from s2s_lightning import EOS
from s2s_lightning.decoding.rules import Ruled
from s2s_lightning.decoding.search import Demands, Hypothesis, Network
from s2s_lightning.decoding.token_loop import Rows, one_by_one


class Greedy(Ruled):
    """The most probable token at each step."""

    @torch.no_grad()
    def __call__(
        self,
        model: Network,
        src: Tensor,
        src_padding: Tensor,
        src_copy: Tensor | None = None,
        demands: Demands = Demands(),
    ) -> list[list[Hypothesis]]:
        state = model.start(src, src_padding, src_copy)
        return one_by_one(model, state, self.rules(src_padding, demands), best, self.manners)


def best(scores: Tensor, rows: Rows) -> Tensor:
    """The best token of each row, by scores (R, V). PAD and BOS come before EOS, words after it."""
    words = scores[:, EOS + 1 :].max(1)
    ending = scores[:, EOS].masked_fill(~rows.may_end(words.values), -torch.inf)
    return torch.where(ending >= words.values, EOS, words.indices + EOS + 1)
