"""Greedy search. R rows: the sentences that have not ended."""

import torch
from torch import Tensor

from s2s_lightning import EOS
from s2s_lightning.architecture import Seq2Seq
from s2s_lightning.decoding.base import Hypothesis
from s2s_lightning.decoding.limits import LengthLimited
from s2s_lightning.decoding.one_by_one import Chosen, Rows, one_by_one


class Greedy(LengthLimited):
    """The most probable token at each step; ``score`` is ``log_prob``."""

    @torch.no_grad()
    def __call__(
        self, model: Seq2Seq, src: Tensor, src_padding: Tensor, src_copy: Tensor | None = None
    ) -> list[list[Hypothesis]]:
        return one_by_one(model, model.start(src, src_padding, src_copy), self.limits(src_padding), best)


def best(log_probs: Tensor, rows: Rows) -> Chosen:
    """The best token of each row, by log_probs (R, V). PAD and BOS come before EOS, words after it."""
    ending = log_probs[:, EOS].masked_fill(~rows.may_end(), -torch.inf)
    words = log_probs[:, EOS + 1 :].max(1)
    token = torch.where(ending >= words.values, EOS, words.indices + EOS + 1)
    return Chosen(token, torch.maximum(ending, words.values))
