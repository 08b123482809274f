"""A loss or a gradient that is NaN or infinite: found, located, and handled as chosen."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from textwrap import shorten
from typing import Any, Literal, NamedTuple

import lightning
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from s2s_lightning import PAD
from s2s_lightning.callbacks.diagnostics.first_non_finite import Finding, locate
from s2s_lightning.callbacks.reports.configuration import Configuration
from s2s_lightning.errors import UserError, check_at_least
from s2s_lightning.model import Batch
from s2s_lightning.runs.trainer_queries import gradient_norm, is_sharded, network, run_folder, texts
from s2s_lightning.training.module import Seq2SeqModule

Action = Literal["stop", "skip", "raise", "off"]

OVERFLOWS = 30
"""Steps in a row that float16's scaler may give up: it begins with 2^16 and halves, so that 2^-14 is left."""

SHOWN = 3
"""Sentences that the message quotes."""

REMEDIES = "Lower --optimizer.lr or --trainer.gradient_clip_val, or leave such steps out: --non_finite.action skip"

KEY = "s2s_lightning_batch"


class Taken(NamedTuple):
    """A micro-batch of the step, its number in the epoch, and the random numbers' state before it."""

    batch: Batch
    number: int
    random: list[Tensor]


class NonFinite(Callback):
    """Ends a run, or skips the step, when the loss or the gradient is NaN or infinite.

    The step is computed once more to say which module's output, or which gradient on the way back, was the first, in
    which batch and in which sentences. ``non_finite_step_<step>.ckpt`` keeps the weights, the batch and the state of
    the random numbers. ``s2s_lightning.callbacks.diagnostics.non_finite.replay`` repeats the search in it. All ranks
    do the same.

    A look waits for the device. On CPUs there is one before each optimizer step, elsewhere one each
    ``log_every_n_steps`` and before each validation: the weights may be lost by then, but no checkpoint has them, and
    the step itself is found by going on from last.ckpt with ``every`` 1. Gradients that overflow in float16
    (``16-mixed``) are what its scaler is for, unless 30 in a row do.

    Args:
        action: "stop" ends the run with one line, "raise" with a traceback; "skip" leaves such a step out; "off" never
            looks.
        every: optimizer steps from one look to the next; "skip" needs 1.
        max_skipped: steps in a row that "skip" leaves out before it ends the run.

    Attributes:
        skipped: steps that "skip" has left out so far.

    Raises:
        UserError: a number below 1, or steps to be skipped that are not all looked at.
    """

    def __init__(self, action: Action = "stop", every: int | None = None, max_skipped: int = 10) -> None:
        check_at_least(1, every=every, max_skipped=max_skipped)
        if action == "skip" and every not in (None, 1):
            raise UserError(f"action=skip needs every=1, for a step is skipped before it is made; every={every}")
        self.action = action
        self.every = every
        self.max_skipped = max_skipped
        self._period = 0
        self.skipped = 0
        self._in_a_row = self._overflows = self._looked = 0
        self._window: list[Taken] = []
        self._bad: Tensor | None = None
        self._kept = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._window, self._bad, self._looked = [], None, trainer.global_step
        every_step = self.action == "skip" or pl_module.device.type == "cpu"
        log_every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        self._period = 0 if self.action == "off" else self.every or (1 if every_step else max(1, log_every))

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        if self._is_due(trainer):
            self._window.append(Taken(batch, batch_idx, random_state(pl_module.device)))

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        if self._period:
            bad = ~loss.detach().isfinite()
            self._bad = bad if self._bad is None else self._bad | bad

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        if not self._is_due(trainer):
            return
        window, self._window = self._window, []
        if self._look(trainer, pl_module, self._gradients_are_bad(pl_module)):
            self._handle(trainer, pl_module, window)
        else:
            self._in_a_row = 0
        self._looked = trainer.global_step + 1

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Before what follows a validation: a checkpoint.
        if self._period > 1 and self._look(trainer, pl_module, None):
            self._handle(trainer, pl_module, [])
        self._looked = trainer.global_step

    @property
    def has_skipped(self) -> bool:
        """True if the last step was left out."""
        return self._in_a_row > 0

    def state_dict(self) -> dict[str, Any]:
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.skipped = state_dict["skipped"]

    def _is_due(self, trainer: Trainer) -> bool:
        return self._period > 0 and (trainer.global_step + 1) % self._period == 0

    def _gradients_are_bad(self, pl_module: LightningModule) -> Tensor | None:
        """True, on all ranks, if a gradient is not finite: the ranks share their gradients."""
        norm = gradient_norm(pl_module)
        return None if norm is None else ~norm.isfinite()

    def _look(self, trainer: Trainer, pl_module: LightningModule, gradients: Tensor | None) -> bool:
        """True if any rank has something to handle; this is the only synchronisation."""
        loss, self._bad = self._bad, None
        flags = [torch.zeros((), dtype=torch.bool) if flag is None else flag for flag in (loss, gradients)]
        bad_loss, bad_gradient = torch.stack([flag.to(pl_module.device) for flag in flags]).tolist()
        if getattr(trainer.precision_plugin, "scaler", None) is not None:
            self._overflows = self._overflows + 1 if bad_gradient else 0
            bad_gradient = self._overflows > OVERFLOWS
        return bool(trainer.strategy.reduce_boolean_decision(bad_loss or bad_gradient, all=False))

    def _handle(self, trainer: Trainer, pl_module: LightningModule, window: Sequence[Taken]) -> None:
        message = self._message(trainer, pl_module, window)
        self._in_a_row += 1
        if self.action == "skip" and self._in_a_row <= self.max_skipped:
            self.skipped += 1
            pl_module.print(f"{message}; step skipped ({self._in_a_row} in a row, {self.skipped} in all)")
            for parameter in pl_module.parameters():
                parameter.grad = None  # which optimizers, clipping and a scaler leave alone
            return
        if self.action == "skip":
            message += f"; it was step {self._in_a_row} in a row, and max_skipped={self.max_skipped}"
        if self.action == "raise":
            raise FloatingPointError(message)
        raise UserError(f"{message}. {REMEDIES}")

    def _message(self, trainer: Trainer, pl_module: LightningModule, window: Sequence[Taken]) -> str:
        """Return the message of every rank: the finding of the first rank that has one."""
        sharded = is_sharded(pl_module)  # whose ranks must compute together, but search each for itself
        found = None if sharded else self._find(trainer, pl_module, window)
        ranks: list[str | None] = [found]
        if trainer.world_size > 1:
            ranks = [None] * trainer.world_size
            torch.distributed.all_gather_object(ranks, found)
        otherwise = "computed once more, all is finite" if window else "seen before a validation"
        what = next(filter(None, ranks), "a sharded network is not searched" if sharded else otherwise)
        if self._period > 1:
            what += "; to find the step, go on from last.ckpt with --non_finite.every 1"
        return f"loss or gradient not finite {self._when(trainer, window)} (epoch {trainer.current_epoch}): {what}"

    def _when(self, trainer: Trainer, window: Sequence[Taken]) -> str:
        """The steps since the last look."""
        last = trainer.global_step + bool(window)  # a validation looks after a step, otherwise it is before one
        first = self._looked + 1
        return f"at step {last}" if first == last else f"in one of the steps {first} to {last}"

    def _find(self, trainer: Trainer, pl_module: LightningModule, window: Sequence[Taken]) -> str | None:
        """Computes the micro-batches of this rank once more, and keeps the first that goes wrong."""
        for taken in window:
            with drawn_from(taken.random, pl_module.device):
                loss = partial(loss_of, pl_module, trainer.precision_plugin.train_step_context)
                finding = locate(network(pl_module), loss, taken.batch)
            if finding is not None:
                where = f"batch {taken.number}" + (f" of rank {trainer.global_rank}" if trainer.world_size > 1 else "")
                said = f"{finding.what}; {where}{sentences(trainer, taken.batch, finding.rows)}"
                return said if self._kept else f"{said}; kept in {self._keep(trainer, pl_module, taken)}"
        return None

    def _keep(self, trainer: Trainer, pl_module: LightningModule, taken: Taken) -> Path:
        """A checkpoint of the weights as they are, with the batch; the first of a run is enough."""
        self._kept = True
        settings = {pl_module.CHECKPOINT_HYPER_PARAMS_KEY: dict(pl_module.hparams)}
        checkpoint: dict[str, Any] = {"state_dict": pl_module.state_dict(), **settings}
        checkpoint["pytorch-lightning_version"] = lightning.__version__
        pl_module.on_save_checkpoint(checkpoint)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, Configuration):
                callback.on_save_checkpoint(trainer, pl_module, checkpoint)
        checkpoint[KEY] = {
            "batch": {name: x for name, x in taken.batch._asdict().items() if x is not None},
            "random": taken.random,
            "step": trainer.global_step,
            "precision": str(trainer.precision),
        }
        rank = f"_rank{trainer.global_rank}" if trainer.global_rank else ""
        path = run_folder(trainer) / f"non_finite_step_{trainer.global_step + 1}{rank}.ckpt"
        torch.save(checkpoint, path)
        return path


def loss_of(pl_module: LightningModule, context: Callable[[], AbstractContextManager[Any]], batch: Batch) -> Tensor:
    """The objective per token, as a training step computes it."""
    with context():
        total: Tensor = pl_module.objective(pl_module.model, batch).sum  # type: ignore[operator]
        return total / batch.divisor


def sentences(trainer: Trainer, batch: Batch, rows: Sequence[int]) -> str:
    """Return the rows of the training pairs, and their texts."""
    if not rows:
        return ""
    data = texts(trainer)
    places = ", ".join(str(batch.rows[row].item()) for row in rows[:SHOWN])
    quoted = []
    for row in rows[:SHOWN]:
        src, tgt = (ids[ids != PAD][:-1].tolist() for ids in (batch.src[row], batch.tgt_out[row]))  # without EOS
        quoted.append(f"{shorten(' '.join(data.src_tokens(src)), 60)} -> {shorten(data.decode([tgt])[0], 60)}")
    more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
    return f", training pairs {places}{more}: {' | '.join(quoted)}"


def random_state(device: torch.device) -> list[Tensor]:
    """Return the state of the CPU's generator, and of the device's if it is a GPU."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


@contextmanager
def drawn_from(random: Sequence[Tensor], device: torch.device) -> Iterator[None]:
    """Random numbers from a kept state on; afterwards they go on as if nothing had been drawn."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.set_rng_state(random[0])
        if device.type == "cuda" and len(random) > 1:
            torch.cuda.set_rng_state(random[1], device)
        yield


class Kept(NamedTuple):
    """Content of a file of ``NonFinite``: the module, in training mode, and the batch, on the CPU."""

    module: Seq2SeqModule
    batch: Batch
    random: list[Tensor]
    precision: str


def load(path: str | Path) -> Kept:
    """Open ``non_finite_step_<step>.ckpt``.

    Raises:
        UserError: it is no such file.
    """
    from s2s_lightning.checkpoints import checkpoint
    from s2s_lightning.objectives import Objective

    content = checkpoint.read(path)
    if KEY not in content:
        raise UserError(f"{path} holds no batch: it must be a non_finite_step_<step>.ckpt")
    module, kept = checkpoint.build(content, path).train(), content[KEY]
    if "objective" in (config := checkpoint.stored_config(content)):
        module.objective = checkpoint.instantiate(config["objective"], Objective, "objective")
    module.objective.step = kept["step"]
    return Kept(module, Batch(**kept["batch"]), kept["random"], kept["precision"])


def replay(path: str | Path) -> Finding | None:
    """Compute a kept batch once more, on the CPU, and say what is not finite first."""
    module, batch, random, precision = load(path)
    half = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}.get(precision)
    context = partial(torch.autocast, "cpu", dtype=half, enabled=half is not None)
    with drawn_from(random, torch.device("cpu")):
        return locate(module.model, partial(loss_of, module, context), batch)
