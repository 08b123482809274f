"""Rows of any number of ranks become one list in the order of the corpus."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import torch.multiprocessing
from lightning.pytorch import LightningModule, Trainer

from s2s_lightning.callbacks.reports.gathered_rows import Gathering, Output, Split, gather, merge, outputs_of, spread
from s2s_lightning.decoding import Hypothesis
from s2s_lightning.model import Batch
from tests.helpers.toy import ToyData, ToyModule, toy_trainer


def output(index: int, *tokens: int) -> Output:
    return Output(index, Hypothesis(list(tokens), -1.0, -1.0, True))


def test_rows_of_ranks_come_in_corpus_order_and_once_each() -> None:
    ranks = [[output(4), output(0)], [output(1), output(0)], []]
    assert [row.index for row in merge(ranks)] == [0, 1, 4]


def test_merging_does_not_depend_on_the_order_of_ranks() -> None:
    ranks = [[output(2, 5), output(0, 6)], [output(1, 7)]]
    assert merge(ranks) == merge(ranks[::-1])


def test_samples_are_spread_evenly_and_do_not_depend_on_who_computed_them() -> None:
    rows = [output(index) for index in range(1000)]
    chosen = spread(rows, 10)
    gaps = [after.index - before.index for before, after in pairwise(chosen)]
    assert max(gaps) < 3 * min(gaps)
    assert spread(spread(rows[::2], 10) + spread(rows[1::2], 10), 10) == chosen


def gather_on_a_rank(rank: int, folder: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=2)
    rows = gather([output(rank, 9), output(7, 9)], world_size=2)
    assert rows == [output(0, 9), output(1, 9), output(7, 9)]
    torch.distributed.destroy_process_group()


def test_two_processes_gather_the_same_rows(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(gather_on_a_rank, (str(tmp_path),), nprocs=2)


class Recorder(Gathering[Output]):
    stages = ("val",)

    def __init__(self, limit: int | None = None) -> None:
        super().__init__(limit)
        self.seen: list[list[int]] = []

    def take(self, step: dict[str, Any], batch: Batch) -> list[Output]:
        return outputs_of(step)

    def report(self, trainer: Trainer, pl_module: LightningModule, split: Split, rows: list[Output]) -> None:
        self.seen.append([row.index for row in rows])


def test_a_report_has_each_sentence_of_its_split_once_and_the_sanity_check_none(tmp_path: Path) -> None:
    recorder, few = Recorder(), Recorder(limit=3)
    trainer = toy_trainer(tmp_path, callbacks=[recorder, few], max_epochs=2, num_sanity_val_steps=1)
    trainer.fit(ToyModule(), datamodule=ToyData())
    assert recorder.seen == [list(range(9))] * 2
    assert few.seen == [[0, 2, 5]] * 2
    trainer.test(ToyModule(), datamodule=ToyData(), verbose=False)
    assert len(recorder.seen) == 2
