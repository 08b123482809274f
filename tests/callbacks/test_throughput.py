"""What is logged of training."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger
from torch.utils._python_dispatch import TorchDispatchMode

from s2s_lightning import PAD
from s2s_lightning.callbacks import Throughput
from s2s_lightning.callbacks.reports.throughput import Stopwatch
from tests.helpers.toy import ToyData, ToyModule, toy_batch, toy_network, toy_trainer, toy_words, windows

WORDS = [(word, word) for word in toy_words(12, seed=2)]


class StandingStill(ToyModule):
    """With a learning rate of 0, so that each step's loss is that of the first weights."""

    def __init__(self) -> None:
        super().__init__()
        self.optimizer = lambda groups: torch.optim.SGD(groups, lr=0.0)


class Recorded(CSVLogger):
    """Keeps what it is given."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.rows: list[dict[str, float]] = []

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.rows.append({**metrics, "step": step})


def run(folder: Path, sizes: list[int], accumulate: int, **options: object) -> list[dict[str, float]]:
    """The logged rows of an epoch over WORDS in micro-batches of ``sizes``."""
    parts = iter(WORDS)
    batches = windows([[next(parts) for _ in range(size)] for size in sizes], accumulate)
    logger = Recorded(folder)
    options = {"callbacks": [Throughput()], "limit_val_batches": 0, **options}
    trainer = toy_trainer(folder, logger=logger, accumulate_grad_batches=accumulate, **options)
    trainer.fit(StandingStill(), datamodule=ToyData(batches))
    return logger.rows


def mean_loss(pairs: list[tuple[str, str]]) -> tuple[float, float]:
    """Label-smoothed loss and nll per token, from all the logits at once."""
    (batch,) = windows([pairs], 1)
    model = toy_network()
    log_probs = model.log_probs(model.teacher_force(batch))
    real = batch.tgt_out != PAD
    nll = -log_probs.gather(-1, batch.tgt_out.unsqueeze(-1)).squeeze(-1)[real].mean().item()
    return 0.9 * nll - 0.1 * log_probs.mean(-1)[real].mean().item(), nll


@pytest.mark.parametrize(("sizes", "accumulate"), [([6, 6], 1), ([1, 5, 4, 2], 2), ([1, 1, 4, 2, 1, 3], 3)])
def test_logged_loss_is_the_mean_over_tokens_since_the_last_log(
    tmp_path: Path, sizes: list[int], accumulate: int
) -> None:
    rows = run(tmp_path, sizes, accumulate, log_every_n_steps=2)
    loss, nll = mean_loss(WORDS)
    assert len(rows) == 1
    assert rows[0]["train/loss"] == pytest.approx(loss, abs=1e-6)
    assert rows[0]["train/nll"] == pytest.approx(nll, abs=1e-6)


def test_a_log_starts_anew_after_the_last(tmp_path: Path) -> None:
    rows = run(tmp_path, [6, 2, 3, 1], 1, log_every_n_steps=2)
    for row, pairs in zip(rows, [WORDS[:8], WORDS[8:]], strict=True):
        assert row["train/loss"] == pytest.approx(mean_loss(pairs)[0], abs=1e-6)


def test_a_repeated_batch_weighs_nothing_in_the_log(tmp_path: Path) -> None:
    repeated, logger = toy_batch(WORDS[3:5], torch.inf), Recorded(tmp_path)
    trainer = toy_trainer(tmp_path, logger=logger, callbacks=[Throughput()], limit_val_batches=0, log_every_n_steps=2)
    trainer.fit(StandingStill(), datamodule=ToyData([*windows([WORDS], 1), repeated]))
    loss, nll = mean_loss(WORDS)
    assert logger.rows[0]["train/loss"] == pytest.approx(loss, abs=1e-6)
    assert logger.rows[0]["train/nll"] == pytest.approx(nll, abs=1e-6)


def test_gradient_norm_is_that_before_clipping(tmp_path: Path) -> None:
    free = run(tmp_path, [12], 1, log_every_n_steps=1)
    clipped = run(tmp_path, [12], 1, log_every_n_steps=1, gradient_clip_val=1e-3)
    assert clipped[0]["train/grad_norm"] == free[0]["train/grad_norm"] > 1e-3


def test_speed_and_learning_rate_are_logged(tmp_path: Path) -> None:
    (row,) = run(tmp_path, [6, 6], 1, log_every_n_steps=2)
    assert row["train/tokens_per_second"] > 0
    assert row["train/lr"] == 0


def test_padding_is_its_share_of_all_positions_since_the_last_log(tmp_path: Path) -> None:
    (row,) = run(tmp_path, [2, 10], 1, log_every_n_steps=2)
    longest = [max(len(src) for src, _ in WORDS[part]) + 1 for part in (slice(2), slice(2, 12))]
    positions = 2 * longest[0] + 10 * longest[1]
    real = sum(len(src) + 1 for src, _ in WORDS)
    assert 0 < real < positions
    assert row["train/padding"] == pytest.approx(1 - real / positions)  # source and target are the same words


def test_peak_memory_holds_at_least_what_was_made(tmp_path: Path) -> None:
    before = torch.ones(2**26)  # a quarter of a GiB, touched
    (row,) = run(tmp_path, [12], 1, log_every_n_steps=1)
    assert before.numel() * 4 / 2**30 < row["train/peak_memory_gib"] < 1024


def test_metrics_stand_at_the_number_of_steps_that_were_made(tmp_path: Path) -> None:
    rows = run(tmp_path, [6, 2, 3, 1], 1, log_every_n_steps=2)
    assert [row["step"] for row in rows] == [2, 4]


class Reads(TorchDispatchMode):
    """Counts values that the host reads from tensors, each of which waits for the device."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def test_the_host_reads_nothing_between_two_logs(tmp_path: Path) -> None:
    def reads(callbacks: list[Throughput]) -> int:
        trainer: Trainer = toy_trainer(tmp_path, callbacks=callbacks, log_every_n_steps=100, limit_val_batches=0)
        with Reads() as mode:
            trainer.fit(ToyModule(), datamodule=ToyData())
        return mode.count

    assert reads([Throughput()]) == reads([])


def test_a_stopped_watch_stands_still() -> None:
    watch = Stopwatch()
    assert watch.lap() == 0
    watch.stop()
    watch.lap()
    watch.stop()
    first, second = watch.lap(), watch.lap()
    assert first < 1e-3
    assert second > 0
