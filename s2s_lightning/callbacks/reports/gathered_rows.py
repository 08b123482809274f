"""Outputs of evaluation batches on any number of ranks, as one list in the order of the corpus."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from s2s_lightning.decoding import Hypothesis
from s2s_lightning.model import Batch

Split = Literal["val", "test"]
Stage = Literal["val", "test", "predict"]
"""What Lightning runs; "predict" reads the test split."""


class Indexed(Protocol):
    """Anything that knows its row in the corpus."""

    @property
    def index(self) -> int: ...


Row = TypeVar("Row", bound=Indexed)


@dataclass(frozen=True, slots=True)
class Output:
    """The best hypothesis for the sentence at row ``index`` of the split."""

    index: int
    hypothesis: Hypothesis


def outputs_of(step: dict[str, Any]) -> list[Output]:
    """A row a sentence of what an evaluation step returned."""
    return [Output(index, best[0]) for index, best in zip(step["index"].tolist(), step["hypotheses"], strict=True)]


def merge(ranks: Iterable[Iterable[Row]]) -> list[Row]:
    """The rows of all ranks in the order of the corpus; one that several ranks computed counts once."""
    rows = {row.index: row for rank in ranks for row in rank}
    return [rows[index] for index in sorted(rows)]


def spread(rows: list[Row], count: int | None) -> list[Row]:
    """``count`` rows spread evenly over the corpus (a corpus may be sorted), the same ones whoever computed them.

    Multiples of the golden ratio modulo 1 fill the unit interval evenly: those rows are taken whose multiple is least.
    """
    return merge([sorted(merge([rows]), key=lambda row: row.index * 2654435769 % 2**32)[:count]])


def gather(rows: list[Row], world_size: int) -> list[Row]:
    """``merge`` over the ranks of the run; every rank gets the same list."""
    ranks: list[Any] = [rows]
    if world_size > 1:
        ranks = [None] * world_size
        torch.distributed.all_gather_object(ranks, rows)
    return merge(ranks)


class Gathering(Callback, ABC, Generic[Row]):
    """Takes rows from each batch of an evaluation and reports on all of them at its end, on every rank.

    ``stages`` are the evaluations it takes part in; Lightning's sanity check is none of them. ``limit`` is how many
    rows, spread over the corpus, it is after; None for all.
    """

    stages: ClassVar[tuple[Stage, ...]]

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self._rows: list[Row] = []

    @abstractmethod
    def take(self, step: dict[str, Any], batch: Batch) -> Iterable[Row]:
        """The rows of a batch, from what its step returned."""

    @abstractmethod
    def report(self, trainer: Trainer, pl_module: LightningModule, split: Split, rows: list[Row]) -> None:
        """Called on every rank with the rows of all of them, at least one."""

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, *position: int
    ) -> None:
        self._take("val", outputs, batch)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, *position: int
    ) -> None:
        self._take("test", outputs, batch)

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, *position: int
    ) -> None:
        self._take("predict", outputs, batch)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._finish(trainer, pl_module, "val")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._finish(trainer, pl_module, "test")

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._finish(trainer, pl_module, "predict")

    def _take(self, stage: Stage, step: dict[str, Any], batch: Batch) -> None:
        if stage not in self.stages:
            return
        self._rows.extend(self.take(step, batch))
        if self.limit is not None:
            self._rows = spread(self._rows, self.limit)

    def _finish(self, trainer: Trainer, pl_module: LightningModule, stage: Stage) -> None:
        rows, self._rows = self._rows, []
        if stage not in self.stages or trainer.sanity_checking:
            return
        rows = spread(gather(rows, trainer.world_size), self.limit)
        if rows:
            self.report(trainer, pl_module, "val" if stage == "val" else "test", rows)
