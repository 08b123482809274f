"""The progress bar, or, where the output is no terminal, now and then a line."""

import math
import sys
import time
from collections.abc import Callable
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

from s2s_lightning.errors import check_at_least
from s2s_lightning.runs.trainer_queries import monitored

BAR = "{desc}  {n_fmt}/{total_fmt} |{bar}| {elapsed}<{remaining}{postfix}"
OPEN_ENDED = "{desc}  {n_fmt} steps  {elapsed}{postfix}"
REDRAW = 0.2
"""Seconds between two pictures of the bar."""


class Progress(ProgressBar):
    """One bar for the run, in optimizer steps, with loss, tokens/s and the metric that chooses the best checkpoint.

    Evaluations have a bar of their own while they last; a validation leaves a line. Where stdout is no terminal,
    lines take the place of bars.

    Args:
        metrics: what the line of a validation shows beside ``val/loss`` and the metric of the best checkpoint.
        line_seconds: seconds between two lines of training where stdout is no terminal.
    """

    def __init__(
        self, metrics: tuple[str, ...] = ("val/token_error_rate", "val/bleu"), line_seconds: float = 30.0
    ) -> None:
        super().__init__()
        self.metrics = metrics
        check_at_least(0, line_seconds=line_seconds)
        self.line_seconds = line_seconds
        self._enabled = True
        self._interval = REDRAW if sys.stdout.isatty() else line_seconds
        self._next = 0.0
        self._bar: Any = None
        self._evaluation: Any = None

    def disable(self) -> None:
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    @property
    def is_disabled(self) -> bool:
        """Nothing is shown: on all ranks but the first."""
        return not self._enabled

    @property
    def is_enabled(self) -> bool:
        """Lightning prints through an enabled bar."""
        return self._enabled

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print above the bar."""
        if self._enabled:
            tqdm.write(" ".join(map(str, args)), file=sys.stdout)
            sys.stdout.flush()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        total = planned_steps(trainer)
        self._bar = self._open(total, BAR if total else OPEN_ENDED, initial=trainer.global_step)
        self._bar.set_description_str(_epoch(trainer))  # of a run that goes on in mid-epoch, which no hook will say
        self._next = time.monotonic() + self._interval

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._bar.set_description_str(_epoch(trainer))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + self._interval
        if self._bar.disable:
            self.print(f"{_position(trainer)}  {_state(trainer)}")
        else:
            self._redraw(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._redraw(trainer)
        self._bar.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        for bar in (self._evaluation, self._bar):
            if bar is not None:  # not its truth: a bar without a total has none
                bar.close()

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._evaluate("sanity check", sum(trainer.num_sanity_val_batches))

    def on_sanity_check_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._evaluation.close()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self._evaluate("validation", sum(trainer.num_val_batches))

    def on_validation_batch_end(self, *args: Any) -> None:
        self._evaluation.update()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        self._evaluation.close()
        if self._bar is not None:
            self.print(f"{_position(trainer)}  validation:  {self._results(trainer)}")
            self._redraw(trainer)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._evaluate("test", sum(trainer.num_test_batches))

    def on_test_batch_end(self, *args: Any) -> None:
        self._evaluation.update()

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._evaluation.close()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._evaluate("predict", sum(trainer.num_predict_batches))

    def on_predict_batch_end(self, *args: Any) -> None:
        self._evaluation.update()

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._evaluation.close()

    def _open(self, total: float | None, bar_format: str, **options: Any) -> Any:
        hidden = not (self._enabled and sys.stdout.isatty())
        return tqdm(total=total, bar_format=bar_format, file=sys.stdout, dynamic_ncols=True, disable=hidden, **options)

    def _evaluate(self, name: str, batches: float) -> None:
        finite = None if math.isinf(batches) else batches
        bar_format = BAR if finite else "{desc}  {n_fmt} batches  {elapsed}"
        self._evaluation = self._open(finite, bar_format, desc=name, leave=False)

    def _redraw(self, trainer: Trainer) -> None:
        self._bar.n = trainer.global_step
        self._bar.set_postfix_str(_state(trainer))

    def _results(self, trainer: Trainer) -> str:
        names = dict.fromkeys(["val/loss", monitored(trainer), *self.metrics])
        values = trainer.callback_metrics
        return "  ".join(f"{name.removeprefix('val/')} {values[name]:.4g}" for name in names if name in values)


def planned_steps(trainer: Trainer) -> int | None:
    """The optimizer steps of the whole run, as far as its limits tell; None when they do not."""
    epoch = trainer.num_training_batches / trainer.accumulate_grad_batches
    epochs = math.inf if trainer.max_epochs in (None, -1) else trainer.max_epochs
    steps = (epoch if math.isinf(epoch) else math.ceil(epoch)) * epochs
    limit = math.inf if trainer.max_steps == -1 else trainer.max_steps
    total = min(steps, limit)
    return None if math.isinf(total) else int(total)


def _epoch(trainer: Trainer) -> str:
    last = "" if trainer.max_epochs in (None, -1) else f"/{trainer.max_epochs}"
    return f"epoch {trainer.current_epoch + 1}{last}"


def _position(trainer: Trainer) -> str:
    total = planned_steps(trainer)
    return f"{_epoch(trainer)}  step {trainer.global_step}{f'/{total}' if total else ''}"


def _state(trainer: Trainer) -> str:
    """Loss, tokens/s and the metric of the best checkpoint, as far as they are known yet."""
    metrics, judged = trainer.callback_metrics, monitored(trainer)
    shown: dict[str, Callable[[float], str]] = {
        "train/loss": lambda value: f"loss {value:.3f}",
        "train/tokens_per_second": lambda value: f"{value / 1000:.1f}k tokens/s",
        judged: lambda value: f"{judged} {value:.4g}",
    }
    return "  ".join(say(metrics[name].item()) for name, say in shown.items() if name in metrics)
