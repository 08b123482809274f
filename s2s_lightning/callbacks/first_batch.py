"""A check of networks with classes that are not ours, at the first training step."""

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, ParallelStrategy
from lightning.pytorch.utilities import rank_zero_info
from torch import nn

from s2s_lightning import PROGRAM
from s2s_lightning.errors import UserError, located, shown
from s2s_lightning.model import Batch, Seq2Seq
from s2s_lightning.testing.first_batch import check_first_batch
from s2s_lightning.testing.law import evaluating

OURS = ("s2s_lightning", "torch")


class CheckFirstBatch(Callback):
    """Warns once where a network of the user's own breaks the laws of padding, pieces or company.

    It runs three short sentences of the first batch in evaluation mode, on the first rank alone. Modes, buffers,
    attributes and generators are restored, so training is the same to the bit. Where ranks hold parts of the weights,
    nothing is checked, because every rank would have to take part. It costs 3 to 6 % of one training step: 65 ms at a
    width of 128 and 10,000 symbols, 300 ms at a width of 512 and six layers (one thread).
    """

    def __init__(self) -> None:
        self._done = False

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        if self._done:
            return
        self._done = True
        strategy = trainer.strategy
        whole = not isinstance(strategy, ParallelStrategy) or isinstance(strategy, DDPStrategy)
        model = getattr(pl_module, "model", None)
        known = isinstance(model, Seq2Seq) and isinstance(batch, Batch)
        if trainer.is_global_zero and whole and known and (own := own_class(pl_module)):
            assert isinstance(model, Seq2Seq)
            if said := warning(model, batch):
                rank_zero_info(f"warning: {said}; all laws: {PROGRAM} check {own}")


def warning(model: Seq2Seq, batch: Batch) -> str | None:
    """Return the laws that a network breaks on a batch as one line, or None."""
    with undisturbed(model):
        try:
            broken = check_first_batch(model, batch)
        except UserError:  # which training meets next
            return None
        except Exception as error:
            return f"short sentences of the first batch cannot be run in evaluation mode: {located(error)}"
    said = [f"of {result.law.name}: {result.said}" for result in broken]
    return "the network breaks the law " + "; ".join(said) if said else None


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Evaluate a network within the context; after it, its parts and all generators are as they were."""
    attributes = [(part, dict(vars(part))) for part in model.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    device = next(model.parameters()).device
    devices = [] if device.type == "cpu" else [device]
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with (
            torch.random.fork_rng(devices, device_type=device.type if devices else "cuda"),
            torch.compiler.set_stance("force_eager"),  # another shape would be compiled anew
            torch.no_grad(),
            evaluating(model),
        ):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        for part, before in attributes:
            vars(part).clear()
            vars(part).update(before)
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)


def own_class(module: LightningModule) -> str | None:
    """Return how ``check`` is told of the outermost class of a network that is not ours, or None if all are."""
    model = module.model
    assert isinstance(model, Seq2Seq)
    for part in (module, model.encoder, model.decoder, *model.modules()):
        if type(part).__module__.partition(".")[0] not in OURS:
            checked = part if part in (module, model.encoder, model.decoder) else module
            return _target(type(checked))
    return None


def _target(cls: type) -> str:
    script = getattr(sys.modules["__main__"], "__file__", None)
    if cls.__module__ == "__main__" and script:
        return f"{shown(str(Path(script).resolve()))}:{cls.__qualname__}"
    return f"{cls.__module__}.{cls.__qualname__}"
