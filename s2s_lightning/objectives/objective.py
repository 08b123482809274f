"""The interface of an objective."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from s2s_lightning.model import Batch, Seq2Seq


class ObjectiveOutput(NamedTuple):
    """Sums over a micro-batch.

    Attributes:
        sum: () what is minimised, summed over real target tokens.
        tokens: () real target tokens.
        parts: further detached sums to be logged per token, ``nll`` always.
    """

    sum: Tensor
    tokens: Tensor
    parts: dict[str, Tensor]


class Objective(ABC):
    """A function of the network and a batch. It holds no parameters, and so stands outside of checkpoint and DDP.

    Attributes:
        step: optimizer steps done so far; the module sets it before each call. What changes in the course of training
            is a function of it, so that a resumed run goes on as it would have.
    """

    step = 0

    @abstractmethod
    def __call__(self, model: Seq2Seq, batch: Batch) -> ObjectiveOutput:
        """The sum, its tokens and its parts."""

    def attach(self, load: Callable[[str], Seq2Seq]) -> None:  # noqa: B027  most need no other
        """Called once before training, for objectives that need another network: ``load`` opens a checkpoint."""
