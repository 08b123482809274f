"""Numbers of training: loss, speed, padding, memory, learning rate, gradients."""

import sys
import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from s2s_lightning import PAD
from s2s_lightning.callbacks.diagnostics.non_finite import NonFinite
from s2s_lightning.model import Batch
from s2s_lightning.runs.trainer_queries import at_step, gradient_norm

KEY = "s2s_lightning_throughput"
"""Key of a checkpoint -> what has been summed up since the last log."""


class Stopwatch:
    """Seconds of wall-clock while it runs."""

    def __init__(self, seconds: float = 0.0) -> None:
        self._seconds = seconds
        self._since: float | None = None

    def start(self) -> None:
        """Run, if it does not already."""
        self._since = time.perf_counter() if self._since is None else self._since

    def stop(self) -> None:
        """Stand still until the next start."""
        if self._since is not None:
            self._seconds += time.perf_counter() - self._since
            self._since = None

    def shown(self) -> float:
        """The seconds since the last lap, in which it ran."""
        running = 0.0 if self._since is None else time.perf_counter() - self._since
        return self._seconds + running

    def lap(self) -> float:
        """Return the seconds that are shown, and begin anew."""
        self.stop()
        seconds, self._seconds = self._seconds, 0.0
        self.start()
        return seconds


class Throughput(Callback):
    """Logs at each ``log_every_n_steps`` and at ``max_steps``, of all ranks since the last log:

    ``train/loss`` and the objective's parts (``train/nll``) per real target token, ``train/tokens_per_second`` (real
    target tokens, the time of validation not counted), and ``train/padding`` (its share of source and target
    positions). ``train/lr`` and ``train/grad_norm`` (before clipping) are of the last step. ``train/peak_memory_gib``
    is the most that any rank has held so far, on its GPU or else of the machine. Sums stay on the device until then, so
    the host waits for it once a log and never between. A checkpoint keeps them, so that a resumed run logs the same.
    What ``NonFinite`` skips is left out.
    """

    def __init__(self) -> None:
        self._stopwatch = Stopwatch()
        self._sums: dict[str, Tensor] = {}
        self._settled: dict[str, Tensor] = {}
        self._restored: tuple[list[dict[str, Tensor]], float] = [], 0.0
        self._grad_norm = torch.zeros(())
        self._lr = 0.0
        self._stepped = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        ranks, seconds = self._restored
        same = len(ranks) == trainer.world_size
        sums = ranks[trainer.global_rank] if same else {}  # of others they have no meaning
        self._sums = {name: value.to(pl_module.device) for name, value in sums.items()}
        self._settled = dict(self._sums)
        self._stopwatch = Stopwatch(seconds if same else 0.0)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        self._stopwatch.start()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stopwatch.stop()

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        self._stepped = True
        if is_due(trainer, trainer.global_step + 1):
            norm = gradient_norm(pl_module)
            self._grad_norm = torch.zeros(()) if norm is None else norm
            self._lr = float(optimizer.param_groups[0]["lr"])

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        # The loss was divided by the effective batch's tokens, and multiplied by the ranks that DDP divides by.
        total = outputs["loss"] * batch.divisor / trainer.world_size
        counts = batch.divisor.isfinite()  # a repeated batch weighs nothing, and 0 * inf would be NaN
        sums = {"loss": total, "tokens": outputs["tokens"], **_positions(batch), **outputs["parts"]}
        for name, value in sums.items():
            counted = value.detach().where(counts, 0)
            self._sums[name] = self._sums[name] + counted if name in self._sums else counted
        if self._stepped and is_skipped(trainer):
            self._sums = dict(self._settled)
        if self._stepped and self._sums and is_due(trainer, trainer.global_step):
            self._log(trainer, pl_module)
        if self._stepped:
            self._settled = dict(self._sums)
        self._stepped = False

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Sums of the steps since the last log, of each rank: a window of accumulation that is not over is not in."""
        ranks: list[Any] = [{name: value.cpu() for name, value in self._settled.items()}]
        if trainer.world_size > 1:
            ranks, own = [None] * trainer.world_size, ranks[0]
            torch.distributed.all_gather_object(ranks, own)
        checkpoint[KEY] = {"sums": ranks, "seconds": self._stopwatch.shown()}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        kept = checkpoint.get(KEY, {"sums": [], "seconds": 0.0})
        self._restored = kept["sums"], kept["seconds"]

    def _log(self, trainer: Trainer, pl_module: LightningModule) -> None:
        dtype = torch.promote_types(self._sums["loss"].dtype, torch.float32)
        sums = torch.stack([value.to(dtype) for value in self._sums.values()])
        sums = trainer.strategy.reduce(sums, reduce_op="sum")
        memory = trainer.strategy.reduce(sums.new_tensor([peak_memory(pl_module.device)]), reduce_op="max")
        others = [self._grad_norm.to(sums).view(1), memory]
        *totals, grad_norm, peak = torch.cat([sums, *others]).tolist()  # the one synchronisation
        means = dict(zip(self._sums, totals, strict=True))
        tokens, padding, positions = (means.pop(name) for name in ("tokens", "padding", "positions"))
        shown = {"loss": means.pop("loss") / tokens, "tokens_per_second": tokens / self._stopwatch.lap()}
        last = {"lr": self._lr, "grad_norm": grad_norm, "padding": padding / positions, "peak_memory_gib": peak / 2**30}
        logged = {**{name: value / tokens for name, value in means.items()}, **last}
        pl_module.log_dict(_on_host(shown), prog_bar=True, on_step=True, on_epoch=False)
        pl_module.log_dict({**_on_host(logged), **at_step(trainer)}, on_step=True, on_epoch=False)
        self._sums = {}


def is_skipped(trainer: Trainer) -> bool:
    """True if the step that has just been computed is not made, as its loss or a gradient is no number."""
    return any(each.has_skipped for each in trainer.callbacks if isinstance(each, NonFinite))  # type: ignore[attr-defined]


def _positions(batch: Batch) -> dict[str, Tensor]:
    """Source and target positions of a batch, and those of them that are padding, on its device."""
    padding = batch.src_padding.sum() + (batch.tgt_out == PAD).sum()
    return {"padding": padding, "positions": torch.full_like(padding, batch.src.numel() + batch.tgt_out.numel())}


def peak_memory(device: torch.device) -> float:
    """The most bytes that this process has held so far, in tensors of a GPU or else of the machine; 0 on Windows."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return 0
    from resource import RUSAGE_SELF, getrusage

    return getrusage(RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def is_due(trainer: Trainer, step: int) -> bool:
    """True if the loggers get the numbers of this optimizer step, counted from 1; they get those of the last step."""
    every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
    return every > 0 and (step % every == 0 or step == trainer.max_steps)


def _on_host(values: dict[str, float]) -> dict[str, Tensor]:
    # As CPU tensors: Lightning would move bare numbers to the device, and wait for them there at each step.
    return {f"train/{name}": torch.tensor(value, dtype=torch.float64) for name, value in values.items()}
