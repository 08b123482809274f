"""The search for max_tokens, against memory of a known form."""

import csv
import mmap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback

from s2s_lightning.callbacks import FindBatchSize
from s2s_lightning.callbacks.finders import find_batch_size as module_under_test
from s2s_lightning.callbacks.finders.batch_sizes import (
    PROCESS,
    Trial,
    fastest,
    peak_memory,
    predicted,
    same_effective,
    search,
    worst_rows,
)
from s2s_lightning.data import Seq2SeqData
from s2s_lightning.data.bucket_sampler import BucketSampler, Budget, Lengths
from s2s_lightning.data.corpora import Generated
from s2s_lightning.errors import UserError
from s2s_lightning.model import Batch
from tests.helpers.toy import ToyModule, toy_trainer


def toy_data(folder: Path, **options: Any) -> Seq2SeqData:
    """Pairs whose ids the toy network knows, none longer than 8 tokens."""
    corpus = Generated("copy", symbols=6, max_length=7, train_pairs=400, val_pairs=2, test_pairs=2)
    return Seq2SeqData(corpus, cache_dir=str(folder / "cache"), **{"max_tokens": 40, **options})


class Full(ToyModule):
    """A device that has room for so many positions of a batch's two sides."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.optimizer = lambda groups: torch.optim.Adam(groups, lr=0.1)
        self.room = room
        self.seen: list[int] = []

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        self.seen.append(batch.src.numel() + batch.tgt_out.numel())
        if self.seen[-1] > self.room:
            raise torch.OutOfMemoryError("out of memory")
        return super().training_step(batch, batch_idx)


class Randomness(Callback):
    """The state of the generator before the finder draws from it."""

    def on_train_start(self, *args: Any) -> None:
        self.state = torch.get_rng_state()


def find(folder: Path, module: ToyModule, *callbacks: Callback, **options: Any) -> list[dict[str, float]]:
    toy_trainer(folder, callbacks=list(callbacks), **options).fit(module, datamodule=toy_data(folder))
    with (folder / "batch_size_finder.csv").open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


@pytest.mark.parametrize("limit", [8, 9, 100, 101, 1000, 5000])
def test_the_search_comes_as_near_to_the_limit_as_it_was_told(limit: int) -> None:
    asked: list[int] = []

    def fits(size: int) -> bool:
        asked.append(size)
        return size <= limit

    found = search(fits, 8, 4096, 0.1)
    assert found is not None
    assert found <= limit
    assert found == 4096 or limit <= 1.1 * found + 1
    assert len(asked) == len({*asked})
    assert search(fits, limit + 1, 4096 + limit, 0.1) is None


def test_it_finds_the_size_at_which_memory_runs_out_and_leaves_no_trace(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module = Full(room=1000)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    finder, random = FindBatchSize(memory=1e6, smallest=16, precision=0.0, reserve=0.0, seconds=0.0), Randomness()
    rows = find(tmp_path, module, random, finder)
    # Of copying, both sides are alike: 500 tokens on each. The longest pair has 8, and rows are whole.
    assert 500 <= max(row["max_tokens"] for row in rows) < 508
    assert max(seen for seen in module.seen if seen <= 1000) == 1000
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random.state)
    assert f"--data.max_tokens {int(max(row['max_tokens'] for row in rows))}" in capsys.readouterr().out
    assert (tmp_path / "batch_size_finder.png").read_bytes().startswith(b"\x89PNG")


def test_on_a_cpu_no_size_is_tried_that_would_go_beyond_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is affine in the tokens: 1 GiB and 1/1000 GiB each, of which 1.7 GiB hold 700."""
    module = Full(room=10**9)
    monkeypatch.setattr(module_under_test, "peak_memory", lambda device: int(2**30 * (1 + max(module.seen) / 2000)))
    rows = find(tmp_path, module, FindBatchSize(memory=1.7, smallest=16, precision=0.0, reserve=0.0, seconds=0.0))
    assert max(module.seen) / 2 <= 700
    assert 693 <= max(row["max_tokens"] for row in rows) <= 700


@pytest.mark.skipif(not PROCESS.exists(), reason="resident memory is read from /proc")
def test_the_peak_of_a_process_grows_by_what_it_takes() -> None:
    before = peak_memory(torch.device("cpu"))
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE
    taken = mmap.mmap(-1, before - resident + 2**26)
    np.frombuffer(taken, np.uint8).fill(1)
    assert peak_memory(torch.device("cpu")) - before == pytest.approx(2**26, rel=0.1)


def test_gradients_of_an_earlier_micro_batch_are_there_where_the_run_accumulates(tmp_path: Path) -> None:
    module = Full(room=10**9)
    held: list[bool] = []
    step = module.training_step

    def watched(batch: Batch, batch_idx: int) -> dict[str, Any]:
        held.append(any(p.grad is not None for p in module.parameters()))
        return step(batch, batch_idx)

    module.training_step = watched  # type: ignore[method-assign]
    find(tmp_path, module, FindBatchSize(1e6, 16, 16, seconds=0.0), accumulate_grad_batches=2)
    assert held[:2] == [False, True]


def test_the_worst_rows_are_no_smaller_than_any_batch_of_the_epoch_and_keep_the_budget() -> None:
    rng = np.random.default_rng(0)
    lengths = Lengths(rng.integers(1, 40, 300).astype(np.int32), rng.integers(1, 25, 300).astype(np.int32))
    plan = BucketSampler(lengths, np.arange(300, dtype=np.int32), Budget(100)).plan(0)
    worst = [shape(lengths, rows) for rows in worst_rows(plan, lengths, 100)]
    batches = [shape(lengths, plan.batch(i)) for i in range(len(plan))]
    for measure in (
        lambda n, s, t: n * s,
        lambda n, s, t: n * t,
        lambda n, s, t: n * (s + t),
        lambda n, s, t: n * (s + t) ** 2,
    ):
        assert max(measure(*x) for x in worst) >= max(measure(*x) for x in batches)
    assert all(n * max(s, t) <= 100 for n, s, t in worst)
    assert all(2 * n * max(s, t) > 100 for n, s, t in worst)


def shape(lengths: Lengths, rows: Any) -> tuple[int, int, int]:
    return len(rows), int(lengths.src[rows].max()), int(lengths.tgt[rows].max())


def test_the_prediction_is_exact_where_memory_is_affine_and_never_below_it_where_it_was_flat_at_first() -> None:
    affine = [Trial(size, 1000 + 3 * size, 1.0) for size in (10, 20, 40)]
    assert predicted(affine, 70) == 1000 + 3 * 70
    flat = [Trial(size, max(1060, 1000 + 3 * size), 1.0) for size in (10, 20, 40)]
    assert predicted([*flat, Trial(60, 1180, 1.0)], 100) == 1300


@pytest.mark.parametrize("effective", [512, 4096, 10_000])
@pytest.mark.parametrize("at_most", [100, 700, 4096, 50_000])
def test_the_effective_batch_stays_what_it_is(effective: int, at_most: int) -> None:
    max_tokens, accumulate = same_effective(effective, at_most)
    assert max_tokens <= at_most
    assert abs(max_tokens * accumulate - effective) <= accumulate / 2
    assert accumulate == 1 or (accumulate - 1) * at_most < effective


def test_the_fastest_is_the_smallest_of_those_that_are_nearly_so() -> None:
    speeds = {1: 10.0, 2: 19.0, 4: 30.0, 8: 30.5, 16: 25.0, 32: 90.0}
    assert fastest([Trial(size, 0, speed) for size, speed in speeds.items()], largest=16) == 4


def test_a_cpu_without_a_limit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="CPU needs memory"):
        toy_trainer(tmp_path, callbacks=[FindBatchSize()]).fit(ToyModule(), datamodule=toy_data(tmp_path))


def test_a_smallest_size_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="smallest=16 tokens does not fit"):
        find(tmp_path, Full(room=4), FindBatchSize(memory=1e6, smallest=16))


def test_batches_by_sentences_are_refused(tmp_path: Path) -> None:
    trainer = toy_trainer(tmp_path, callbacks=[FindBatchSize(memory=1.0)])
    with pytest.raises(UserError, match=r"data\.batch_size=3"):
        trainer.fit(ToyModule(), datamodule=toy_data(tmp_path, batch_size=3))
