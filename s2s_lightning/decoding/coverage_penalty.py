"""Coverage: how much of the source each hypothesis has attended to (Wu et al., 2016, 7, arXiv:1609.08144).

Shape letters: R sentences still searched, W live hypotheses of each, S source.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from s2s_lightning.errors import UserError
from s2s_lightning.model import Step

FLOOR = 1e-6
"""A position that got less attention counts as if it had got this much: windows give an exact 0."""


class Coverage(NamedTuple):
    """The attention that source positions got in all.

    Attributes:
        total: (R, W, S).
        padding: (R, 1, S), True at padding.
    """

    total: Tensor
    padding: Tensor

    @classmethod
    def begin(cls, src_padding: Tensor) -> "Coverage":
        """Return the coverage of one hypothesis a sentence, which has attended to nothing yet; src_padding (R, S)."""
        padding = src_padding.unsqueeze(1)
        return cls(torch.zeros(padding.shape, device=padding.device), padding)

    def add(self, attention: Tensor) -> "Coverage":
        """Return the coverage with the attention of one more step (R, W, S)."""
        return self._replace(total=self.total + attention)

    def follow(self, parent: Tensor) -> "Coverage":
        """Return the coverage of the hypotheses that continue ``parent`` (R, W')."""
        return self._replace(total=self.total.gather(1, parent.unsqueeze(-1).expand(-1, -1, self.total.shape[-1])))

    def penalty(self) -> Tensor:
        """(R, W) sum over the real positions of log min(1, total), at most 0."""
        covered = self.total.clamp(FLOOR, 1.0).log()
        return covered.masked_fill(self.padding, 0.0).sum(-1)


def attention_over(step: Step, shape: torch.Size) -> Tensor:
    """(R, W, S), the mean over layers and heads of a step of one token; shape is (R, W).

    Raises:
        UserError: the model has no attention.
    """
    if step.attention is None:
        raise UserError("coverage_penalty needs a model with attention, and this one has none: set it to 0")
    return step.attention.mean((1, 2)).view(*shape, -1)
