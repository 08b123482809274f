"""The interface of an objective."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from s2s_lightning.architecture import Seq2Seq
from s2s_lightning.batch import Batch
from s2s_lightning.errors import UserError


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


def check_probability(**values: float) -> None:
    """Raises UserError for the first value that is not from 0 to 1."""
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise UserError(f"{name}={value}: it must be from 0 to 1")


def check_not_negative(**values: float) -> None:
    """Raises UserError for the first value below 0."""
    for name, value in values.items():
        if not value >= 0:
            raise UserError(f"{name}={value}: it must be 0 or more")


def check_label_smoothing(value: float) -> None:
    """Raises UserError unless it is 0 or more and below 1."""
    if not 0 <= value < 1:
        raise UserError(f"label_smoothing={value}: it must be 0 or more and below 1")
