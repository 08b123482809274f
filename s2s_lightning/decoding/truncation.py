"""Truncation: the tokens that a step of sampling may draw. R rows, V tokens; a score of -inf is ruled out already."""

import math

import torch
from torch import Tensor

from s2s_lightning.decoding.top_k import top_k as largest
from s2s_lightning.errors import UserError, check_at_least, check_probability


class Truncation:
    """The improbable tail of a distribution is cut off.

    In this order, each from the softmax of what those before have left: ``top_k``, ``top_p``, ``min_p``, ``typical_p``.
    One token stays at least.

    Args:
        top_k: tokens kept, the most probable ones; 0 keeps all.
        top_p: the most probable tokens are kept until their probabilities sum to this; 1 keeps all.
        min_p: what is kept is at least so probable, as a share of the probability of the best; 0 keeps all.
        typical_p: the tokens whose -log p is closest to the entropy are kept until they sum to this; 1 keeps all.

    Raises:
        UserError: a negative top_k, or a probability outside its range.
    """

    def __init__(self, *, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0, typical_p: float = 1.0) -> None:
        check_at_least(0, top_k=top_k)
        check_probability(min_p=min_p)
        for name, mass in {"top_p": top_p, "typical_p": typical_p}.items():
            if not 0 < mass <= 1:
                raise UserError(f"{name}={mass}: it must be above 0 and at most 1; 1 keeps all tokens")
        self.top_k = top_k
        self.top_p = top_p
        self.min_p = min_p
        self.typical_p = typical_p

    def __call__(self, scores: Tensor) -> Tensor:
        """Scores (R, V), -inf for what is cut off."""
        if 0 < self.top_k < scores.shape[-1]:
            kept = largest(scores, self.top_k)
            scores = torch.full_like(scores, -torch.inf).scatter(-1, kept.indices, kept.values)
        if self.top_p < 1:
            scores = until(self.top_p, scores, scores.sort(-1, descending=True).indices)
        if self.min_p > 0:
            bound = scores.amax(-1, keepdim=True) + math.log(self.min_p)
            scores = scores.masked_fill(scores < bound, -torch.inf)
        if self.typical_p < 1:
            scores = until(self.typical_p, scores, by_typicality(scores))
        return scores


def until(mass: float, scores: Tensor, order: Tensor) -> Tensor:
    """Scores (R, V), -inf but for the first tokens in ``order`` (R, V) whose probabilities sum to ``mass`` at least."""
    p = scores.double().softmax(-1).gather(-1, order)
    before = p.cumsum(-1) - p  # exactly 0 for the first, which therefore stays
    cut = torch.zeros_like(scores, dtype=torch.bool).scatter(-1, order, before >= mass)
    return scores.masked_fill(cut, -torch.inf)


def by_typicality(scores: Tensor) -> Tensor:
    """Tokens in the order of | -log p - H |, H the entropy: (R, V) -> (R, V)."""
    log_p = scores.double().log_softmax(-1)
    entropy = torch.special.entr(log_p.exp()).sum(-1, keepdim=True)
    order: Tensor = (log_p + entropy).abs().argsort(-1)
    return order


EVERYTHING = Truncation()
"""Cuts nothing off."""
