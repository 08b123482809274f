"""Training steps that leave no trace: what is tried out before a run."""

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count, islice
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loops.utilities import _block_parallel_sync_behavior
from lightning.pytorch.strategies import FSDPStrategy, ModelParallelStrategy
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor
from torch.utils.data import DataLoader

from s2s_lightning.data.position import accumulated
from s2s_lightning.errors import UserError
from s2s_lightning.model import Batch

SHARDED = (FSDPStrategy, ModelParallelStrategy)


@contextmanager
def rehearsal(trainer: Trainer, pl_module: LightningModule) -> Iterator[None]:
    """Allow steps while the context lasts, then restore weights, buffers, optimizer, loss scale and random numbers.

    The copies wait in the host's memory. No callback hears of the steps. Batches come from ``training_windows``, which
    does not touch the loader of the run.

    Raises:
        UserError: each process has but a part of the weights.
    """
    if isinstance(trainer.strategy, SHARDED):
        raise UserError(
            f"trainer.strategy={type(trainer.strategy).__name__} shards the weights, and nothing is tried out on parts "
            "of them: look for the learning rate or the size of batch on one device, or with ddp"
        )
    saved = io.BytesIO()
    (optimizer,) = trainer.optimizers
    precision = trainer.precision_plugin
    torch.save([_tensors(pl_module), optimizer.state_dict(), precision.state_dict()], saved)
    callbacks, trainer.callbacks = trainer.callbacks, []  # type: ignore[attr-defined]
    try:
        with isolate_rng():
            yield
    finally:
        trainer.callbacks = callbacks  # type: ignore[attr-defined]
        saved.seek(0)
        tensors, optimizer_state, precision_state = torch.load(saved, map_location="cpu", weights_only=False)
        with torch.no_grad():
            for name, tensor in _tensors(pl_module).items():
                tensor.copy_(tensors[name])
        optimizer.load_state_dict(optimizer_state)
        optimizer.zero_grad()
        precision.load_state_dict(precision_state)


def _tensors(pl_module: LightningModule) -> dict[str, Tensor]:
    """Parameters and buffers, the buffers that no checkpoint holds among them."""
    return {**dict(pl_module.named_parameters()), **dict(pl_module.named_buffers())}


def training_loader(trainer: Trainer) -> DataLoader[Batch]:
    """One of its own, so that the position of the run's stays where it is."""
    loader: DataLoader[Batch] = trainer.datamodule.train_dataloader()  # type: ignore[attr-defined]
    return loader


def training_windows(trainer: Trainer, loader: DataLoader[Batch]) -> Iterator[list[Batch]]:
    """This rank's micro-batches of one optimizer step after the other, as the run would read them, without an end."""
    limit = trainer.num_training_batches
    for epoch in count(trainer.current_epoch):
        if set_epoch := getattr(loader.sampler, "set_epoch", None):
            set_epoch(epoch)
        batches = islice(loader, None if math.isinf(limit) else int(limit))
        while window := list(islice(batches, accumulated(trainer, epoch))):
            yield window


def optimizer_step(trainer: Trainer, pl_module: LightningModule, window: Sequence[Batch]) -> Tensor:
    """One step as the run makes it: its precision, its clipping, its ranks.

    Returns:
        () the loss of a target token, over all micro-batches and ranks.
    """
    strategy = trainer.strategy
    (optimizer,) = trainer.optimizers
    losses: list[Tensor] = []

    def gradients() -> Tensor:
        optimizer.zero_grad()
        for i, batch in enumerate(window):
            with _block_parallel_sync_behavior(strategy, block=i < len(window) - 1):
                output: Any = strategy.training_step(_on_device(trainer, batch), i)
                loss = output["loss"] / trainer.accumulate_grad_batches
                strategy.backward(loss, optimizer)
            losses.append(loss.detach())
        return losses[-1]

    strategy.optimizer_step(optimizer, gradients, model=pl_module)
    mean: Tensor = strategy.reduce(torch.stack(losses).sum(), reduce_op="mean")
    return mean


def _on_device(trainer: Trainer, batch: Batch) -> Batch:
    moved: Batch = trainer.strategy.batch_to_device(trainer.precision_plugin.convert_input(batch))
    return moved
