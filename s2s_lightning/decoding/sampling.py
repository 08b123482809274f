"""Ancestral sampling. R rows: the samples that have not ended. B sentences, K samples of each."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from s2s_lightning import EOS
from s2s_lightning.decoding.rules import Ruled, Rules
from s2s_lightning.decoding.search import Demands, Hypothesis, Network
from s2s_lightning.decoding.token_loop import Rows, one_by_one
from s2s_lightning.decoding.truncation import EVERYTHING, Truncation
from s2s_lightning.errors import UserError, check_at_least
from s2s_lightning.model import repeat, tree_map

Noise = Callable[[Rows], Tensor]
"""(R,) numbers from 0 to below 1 for the next token of each row."""

COLDEST = 1e-30
"""The lowest temperature: log-probabilities over a lower one may all overflow float32, which would draw the last id."""


class Sampling(Ruled):
    """Ancestral sampling: each token is drawn from softmax(log p / temperature), PAD and BOS left out.

    The temperature comes first, then what is cut off: by ``top_k``, ``top_p``, ``min_p`` and ``typical_p`` in this
    order, each from the softmax of what those before have left. One token stays at least.

    The noise of a token is a function of (seed, source, sample, step): a sentence is sampled alike alone and in any
    batch, and twice the same when it occurs twice. The samples of a sentence are independent, so that one may occur
    several times; they are sorted by ``score``, which does not know of the temperature or of what is cut off.

    Args:
        temperature: at least 1e-30 and finite; below 1 prefers what is probable.
        num_samples: outputs a sentence.
        seed: another seed, other samples.
        top_k: only so many tokens may be drawn at a step, the most probable ones; 0 allows all.
        top_p: only the most probable tokens, until their probabilities sum to this (the nucleus of Holtzman et al.,
            2020, arXiv:1904.09751); 1 allows all.
        min_p: only tokens at least so probable, as a share of the probability of the best (Nguyen et al., 2024,
            arXiv:2407.01082); 0 allows all.
        typical_p: only the tokens whose -log p is closest to the entropy of the step, until their probabilities sum to
            this (Meister et al., 2023, arXiv:2202.00666); 1 allows all.

    Raises:
        UserError: no sample at all, a temperature below 1e-30 or not finite, or a probability outside its range.
    """

    def __init__(
        self,
        *,
        temperature: float = 1.0,
        num_samples: int = 1,
        seed: int = 1,
        top_k: int = 0,
        top_p: float = 1.0,
        min_p: float = 0.0,
        typical_p: float = 1.0,
        **limits: Any,
    ) -> None:
        super().__init__(**limits)
        check_at_least(1, num_samples=num_samples)
        check_temperature(temperature)
        self.temperature = temperature
        self.truncation = Truncation(top_k=top_k, top_p=top_p, min_p=min_p, typical_p=typical_p)
        self.num_samples = self.num_outputs = num_samples
        self.seed = seed

    @torch.no_grad()
    def __call__(
        self,
        model: Network,
        src: Tensor,
        src_padding: Tensor,
        src_copy: Tensor | None = None,
        demands: Demands = Demands(),
    ) -> list[list[Hypothesis]]:
        keys = _keys(src, src_padding, self.seed, self.num_samples)
        of_samples = partial(torch.repeat_interleave, repeats=self.num_samples, dim=0)
        rules: Rules = tree_map(of_samples, self.rules(src_padding, demands))
        state = repeat(model.start(src, src_padding, src_copy), self.num_samples)

        def noise(rows: Rows) -> Tensor:
            return _uniform(keys[rows.place] + rows.tokens.shape[1])

        choose = Ancestral(noise, self.temperature, self.truncation)
        found = one_by_one(model, state, rules, choose, self.manners)
        flat = [hypothesis for (hypothesis,) in found]
        groups = [flat[start : start + self.num_samples] for start in range(0, len(flat), self.num_samples)]
        return [sorted(group, key=lambda hypothesis: -hypothesis.score) for group in groups]


def check_temperature(temperature: float) -> None:
    """Raise UserError unless it is from ``COLDEST`` to the largest finite number."""
    if not temperature > 0:
        raise UserError(f"temperature={temperature}: it must be above 0; for the limit at 0 use Greedy")
    if not COLDEST <= temperature < math.inf:
        raise UserError(f"temperature={temperature}: it must be finite and at least {COLDEST}; below that use Greedy")


class Ancestral:
    """Draws a token for each row by the inverse of the cumulative distribution, which needs one number a row.

    Args:
        noise: where the numbers come from.
        temperature: above 0.
        truncation: what is not drawn, after the rules and the temperature.
    """

    def __init__(self, noise: Noise, temperature: float = 1.0, truncation: Truncation = EVERYTHING) -> None:
        self.noise = noise
        self.temperature = temperature
        self.truncation = truncation

    def __call__(self, scores: Tensor, rows: Rows) -> Tensor:
        allowed = scores[:, EOS:] / self.temperature
        allowed[:, 0].masked_fill_(~rows.may_end(allowed[:, 1:].amax(1)), -torch.inf)
        return EOS + draw(self.truncation(allowed), self.noise(rows))


def draw(scores: Tensor, noise: Tensor) -> Tensor:
    """(R,) indices into the last dimension of scores (R, V), each with its softmax's probability.

    Cumulated in float64: in float32 the probabilities of a large vocabulary's tail would be rounding errors.
    """
    cumulative = scores.double().softmax(-1).cumsum(-1)
    bound = cumulative[:, -1:] * noise.double().unsqueeze(1)
    return torch.searchsorted(cumulative, bound, right=True).squeeze(1).clamp(max=scores.shape[1] - 1)


def _keys(src: Tensor, src_padding: Tensor, seed: int, num_samples: int) -> Tensor:
    """(B * K,) int64, a hash of each (seed, real source ids, sample)."""
    key = _mix(torch.full_like(src[:, 0], seed))
    for ids, padding in zip(src.unbind(1), src_padding.unbind(1), strict=True):
        key = key.where(padding, _mix(key + ids + 1))
    sample = torch.arange(num_samples, device=src.device)
    return _mix(key.unsqueeze(1) + sample).flatten()


def _mix(x: Tensor) -> Tensor:
    """SplitMix64 (Steele et al., 2014): int64 -> int64, each bit of which depends on all bits of x."""
    x = x + -0x61C8864680B583EB
    x = (x ^ _shifted(x, 30)) * -0x40A7B892E31B1A47
    x = (x ^ _shifted(x, 27)) * -0x6B2FB644ECCEEE15
    return x ^ _shifted(x, 31)


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Shift to the right, zeros coming in."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _uniform(key: Tensor) -> Tensor:
    """Return numbers from 0 to below 1, float64, of the 53 upper bits of each key's hash."""
    return _shifted(_mix(key), 11).double() * 2.0**-53
