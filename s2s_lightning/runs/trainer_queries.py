"""Questions of callbacks to a run: its folder, the texts behind its ids, the metric it is judged by."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol, cast, runtime_checkable

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.distributed.tensor import DTensor

from s2s_lightning.model import Batch, Seq2Seq


class TextLayer(Protocol):
    """The part of the data module that knows text."""

    def has(self, split: Literal["train", "val", "test"]) -> bool: ...

    def sources(self, split: str, indices: Sequence[int]) -> list[str]: ...

    def references(self, split: str, indices: Sequence[int]) -> list[tuple[str, ...]]: ...

    def unequal(self, split: str, indices: Sequence[int]) -> dict[str, int]: ...

    def decode(self, ids: Sequence[Sequence[int]], sources: Sequence[str] | None = None) -> list[str]: ...

    def src_tokens(self, ids: Sequence[int]) -> list[str]: ...

    def tgt_tokens(self, ids: Sequence[int], source: str) -> list[str]: ...

    def summary(self) -> Sequence[tuple[str, str]]: ...

    def fingerprints(self) -> dict[str, str]: ...


def texts(trainer: Trainer) -> TextLayer:
    """The data module of the run."""
    layer: TextLayer | None = getattr(trainer, "datamodule", None)
    assert layer is not None, "callbacks that show text need Trainer.fit(..., datamodule=...)"
    return layer


def has_texts(trainer: Trainer) -> bool:
    """True if the trainer has a data module that knows the texts of its batches."""
    return hasattr(getattr(trainer, "datamodule", None), "references")


def run_folder(trainer: Trainer) -> Path:
    """Return the folder of the run's files; it exists."""
    folder = Path(trainer.default_root_dir)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def at_step(trainer: Trainer) -> dict[str, Tensor]:
    """Return entries for the metrics of training, so that their step is the number of optimizer steps that were made.

    Lightning takes one less, and leaves the epoch to whoever gives a step.
    """
    step, epoch = trained(trainer)
    return {"step": torch.tensor(step, dtype=torch.float64), "epoch": torch.tensor(epoch, dtype=torch.float64)}


def trained(trainer: Trainer) -> tuple[int, int]:
    """The optimizer steps and epochs behind the weights: those of the checkpoint that an evaluation has loaded."""
    loaded: tuple[int, int] | None = getattr(trainer.lightning_module, "loaded_at", None)
    here = trainer.global_step, trainer.current_epoch
    return here if loaded is None or trainer.state.fn == "fit" else loaded


@runtime_checkable
class Keeper(Protocol):
    """A callback that keeps the best checkpoint: ours or Lightning's ``ModelCheckpoint``."""

    monitor: str | None
    best_model_score: Tensor | None
    best_model_path: str
    last_model_path: str


def keeper(trainer: Trainer) -> Keeper | None:
    """Return the trainer's last checkpoint callback, or None: ours stands behind those of the user."""
    return next((each for each in reversed(trainer.checkpoint_callbacks) if isinstance(each, Keeper)), None)


def monitored(trainer: Trainer) -> str:
    """The metric that chooses the best checkpoint, ``val/loss`` where nothing chooses."""
    checkpoint = keeper(trainer)
    return (checkpoint and checkpoint.monitor) or "val/loss"


def network(pl_module: LightningModule) -> Seq2Seq:
    """The network of a ``Seq2SeqModule``."""
    return cast(Seq2Seq, pl_module.model)


def gradient_norm(pl_module: LightningModule) -> Tensor | None:
    """The Euclidean norm of all gradients together, (), the same on every rank; None where there is no gradient."""
    gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
    return whole(torch.nn.utils.get_total_norm(gradients)) if gradients else None


def whole(x: Tensor) -> Tensor:
    """Return the whole tensor where each rank holds a part of it: all ranks must ask for it."""
    return x.full_tensor() if isinstance(x, DTensor) else x


def is_sharded(pl_module: LightningModule) -> bool:
    """True if each rank holds a part of the weights alone."""
    return any(isinstance(parameter, DTensor) for parameter in pl_module.parameters())


def source_ids(batch: Batch) -> list[list[int]]:
    """The real source ids of each sentence, EOS last."""
    lengths = (~batch.src_padding).sum(1).tolist()
    return [ids[:length] for ids, length in zip(batch.src.tolist(), lengths, strict=True)]
