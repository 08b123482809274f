"""The size of a batch in tokens: the largest that fits, and the fastest, before training."""

import csv
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import _TunerExitException
from lightning.pytorch.utilities.memory import garbage_collection_cuda, is_oom_error
from torch.utils.data import DataLoader

from s2s_lightning import PAD
from s2s_lightning.callbacks.diagnostics.rehearsal import optimizer_step, rehearsal, training_loader, training_windows
from s2s_lightning.callbacks.finders.batch_sizes import (
    Trial,
    fastest,
    peak_memory,
    predicted,
    same_effective,
    search,
    worst_rows,
)
from s2s_lightning.callbacks.reports.media import log_picture
from s2s_lightning.data.bucket_sampler import BatchIndex, BucketSampler, Budget
from s2s_lightning.errors import UserError, check_at_least, check_below_one
from s2s_lightning.model import Batch
from s2s_lightning.runs.trainer_queries import run_folder

GIB = 2**30


class FindBatchSize(Callback):
    """Finds the largest ``data.max_tokens`` that fits into memory, and the fastest, and ends the run.

    A size fits if training steps do on the worst batches that an epoch can have: those with the most source tokens,
    target tokens, both, or attention, filled up to the budget. Sizes are doubled, then bisected. Each also trains on
    ordinary batches, to tell its speed. Writes ``batch_size_finder.png`` and ``.csv``, and prints what to type, also to
    have in an optimizer step what it has now.

    A GPU says that its memory is out, and the run survives. A CPU's process is killed, so there a limit must be given:
    the peak of the whole process is measured, which grows by as much with each token, and no size is tried that would
    by that go beyond the limit. The first two are tried in any case.

    Args:
        memory: GiB that the process (on a CPU) or torch (on a GPU) may have; needed on a CPU.
        smallest: max_tokens to begin with.
        largest: max_tokens to end with, however much memory there is.
        reserve: what part of the largest to keep back, since memory fragments and batches differ between epochs.
        precision: how near the bisection comes, as a fraction of max_tokens.
        seconds: of training on ordinary batches, for each size.

    Raises:
        UserError: a CPU without ``memory``, several devices, batches that are not by ``max_tokens``, or a smallest size
            that does not fit.
    """

    needs_whole_weights = True

    def __init__(
        self,
        memory: float | None = None,
        smallest: int = 512,
        largest: int = 2**17,
        *,
        reserve: float = 0.1,
        precision: float = 0.1,
        seconds: float = 2.0,
    ) -> None:
        check_at_least(1, smallest=smallest, largest=largest)
        check_below_one(reserve=reserve, precision=precision)
        if memory is not None and not memory > 0:
            raise UserError(f"memory={memory}: it is GiB, above 0")
        self.memory = memory
        self.smallest = smallest
        self.largest = max(smallest, largest)
        self.reserve = reserve
        self.precision = precision
        self.seconds = seconds
        self._trials: list[Trial] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        if self.memory is None and trainer.strategy.root_device.type != "cuda":
            raise UserError(
                "FindBatchSize on a CPU needs memory, in GiB: half of what is free, say; a process that takes too much "
                "is killed and cannot tell"
            )
        if trainer.world_size > 1:
            raise UserError(
                f"FindBatchSize looks at one device, but there are {trainer.world_size}: --trainer.devices 1"
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        now: Budget = data.budget
        if now.batch_size is not None:
            raise UserError(f"data.batch_size={now.batch_size} alone decides how large a batch is: leave it out")
        self._trials = []
        try:
            with rehearsal(trainer, pl_module):
                largest = search(
                    lambda size: self._fits(trainer, pl_module, size), self.smallest, self.largest, self.precision
                )
        finally:
            data.budget = now
        if largest is None:
            raise UserError(f"a batch of smallest={self.smallest} tokens does not fit: lower it, or shrink the network")
        safe = max(self.smallest, int(largest * (1 - self.reserve))) if largest < self.largest else largest
        self._report(trainer, pl_module, safe, now.max_tokens * trainer.accumulate_grad_batches)
        raise _TunerExitException  # Lightning's own end of a run that was only to find something

    def _fits(self, trainer: Trainer, pl_module: LightningModule, max_tokens: int) -> bool:
        if self._limit is not None and predicted(self._trials, max_tokens) > self._limit:
            return False
        try:
            trial = self._try(trainer, pl_module, max_tokens)
        except RuntimeError as error:
            if not (isinstance(error, torch.OutOfMemoryError) or is_oom_error(error)):
                raise
            trial = None
        if trial is None:  # outside of the handler, whose error keeps the tensors of the step alive
            trainer.optimizers[0].zero_grad()
            garbage_collection_cuda()
            return False
        self._trials.append(trial)
        pl_module.print(_line(trial))
        return self._limit is None or trial.peak <= self._limit

    @property
    def _limit(self) -> float | None:
        return None if self.memory is None else self.memory * GIB

    def _try(self, trainer: Trainer, pl_module: LightningModule, max_tokens: int) -> Trial:
        """Steps on the worst batches, then on ordinary ones."""
        trainer.datamodule.budget = Budget(max_tokens)  # type: ignore[attr-defined]
        device = trainer.strategy.root_device
        if device.type == "cuda":
            garbage_collection_cuda()
            torch.cuda.reset_peak_memory_stats(device)
        loader = training_loader(trainer)
        for batch in worst_batches(loader):
            # The second micro-batch of an optimizer step finds the gradients of the first.
            optimizer_step(trainer, pl_module, [batch] * min(2, trainer.accumulate_grad_batches))
        tokens, start = 0, time.perf_counter()
        for window in training_windows(trainer, loader):
            optimizer_step(trainer, pl_module, window).item()
            tokens += sum(int((batch.tgt_out != PAD).sum()) for batch in window)
            if (elapsed := time.perf_counter() - start) >= self.seconds:
                break
        return Trial(max_tokens, peak_memory(device), tokens / elapsed)

    def _report(self, trainer: Trainer, pl_module: LightningModule, largest: int, effective: int) -> None:
        trials = sorted(self._trials)
        folder, fast = run_folder(trainer), fastest(trials, largest)
        _write(trials, folder / "batch_size_finder.csv")
        _draw(trials, {"fastest": fast, "largest": largest}, self.memory, folder / "batch_size_finder.png")
        log_picture(trainer, "batch_size_finder", folder / "batch_size_finder.png")
        size, accumulate = same_effective(effective, fast)
        pl_module.print(
            f"fastest           --data.max_tokens {fast}\n"
            f"largest           --data.max_tokens {largest}\n"
            f"batch as it was   --data.max_tokens {size} --trainer.accumulate_grad_batches {accumulate}\n"
            f"run folder        {folder}  (batch_size_finder.png, batch_size_finder.csv)"
        )


def worst_batches(loader: DataLoader[Batch]) -> list[Batch]:
    """Batches of the sampler's epoch that need most memory, filled up to its budget by repeating their pairs."""
    sampler = loader.sampler
    if not isinstance(sampler, BucketSampler):
        raise UserError("FindBatchSize needs batches of the data module's own: leave out --trainer.overfit_batches")
    rows = worst_rows(sampler.plan(sampler.epoch), sampler.lengths, sampler.budget.max_tokens)
    return [loader.dataset[BatchIndex(row, float(sampler.lengths.tgt[row].sum()), sampler.epoch)] for row in rows]


def _line(trial: Trial) -> str:
    memory = f"{trial.peak / GIB:.2f} GiB"
    return f"  max_tokens {trial.max_tokens:>8,}   {trial.tokens_per_second:>10,.0f} tokens/s   {memory:>10}"


def _write(trials: Sequence[Trial], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["max_tokens", "peak_bytes", "tokens_per_second"])
        writer.writerows(trials)


def _draw(trials: Sequence[Trial], marks: dict[str, int], limit: float | None, path: Path) -> None:
    from matplotlib.figure import Figure

    sizes = [trial.max_tokens for trial in trials]
    figure = Figure(figsize=(8, 3.4), dpi=110, layout="constrained")
    speed, memory = figure.subplots(1, 2)
    speed.plot(sizes, [trial.tokens_per_second for trial in trials], "o-", markersize=4)
    speed.set(xscale="log", ylabel="real target tokens a second")
    memory.plot(sizes, [trial.peak / GIB for trial in trials], "o-", markersize=4)
    memory.set_ylabel("peak memory, GiB")
    if limit is not None:
        memory.axhline(limit, color="C3", linewidth=1, label=f"limit {limit:g} GiB")
        memory.legend(fontsize=8)
    for (name, size), style in zip(marks.items(), ("-", "--"), strict=True):
        speed.axvline(size, color="C1", linestyle=style, linewidth=1, label=f"{name}: {size:,}")
    speed.legend(fontsize=8)
    for axes in (speed, memory):
        axes.set(xlabel="data.max_tokens", ylim=(0, None))
    figure.savefig(path)
