"""Trainers of Python programs: what a plain Lightning Trainer lacks."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar

from s2s_lightning.callbacks.draws import Draws
from s2s_lightning.callbacks.evaluation import Evaluation, EvaluationLog
from s2s_lightning.callbacks.throughput import Throughput
from s2s_lightning.checkpoint import other_network
from s2s_lightning.data import Seq2SeqData
from s2s_lightning.module import Seq2SeqModule
from s2s_lightning.tools import tools_of


class Attach(Callback):
    """Gives objective and search what they need of the data: the tokenizers, and other checkpoints by their paths."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        data = getattr(trainer, "datamodule", None)
        if isinstance(pl_module, Seq2SeqModule) and isinstance(data, Seq2SeqData):
            attach(pl_module, data, trains=stage == "fit")


def attach(module: Seq2SeqModule, data: Seq2SeqData, *, trains: bool) -> None:
    """Attach the search, and for training the objective, unless it is done already for this data module."""
    done = vars(data).setdefault("_attached", {})  # not the module's: moving averages copy a module
    parts: dict[str, Any] = {"decoding": module.decoding, **({"objective": module.objective} if trains else {})}
    for name, part in parts.items():
        if done.get(name) is not part:
            part.attach(partial(other_network, data=data) if name == "objective" else tools_of(data))
            done[name] = part


def missing_callbacks(trainer: Trainer) -> list[Callback]:
    """Return the callbacks that each training or evaluation needs and this trainer lacks.

    The trainer of the command line has them all, so that nothing is computed or logged twice.
    """
    if trainer.barebones:
        return []
    present = trainer.callbacks  # type: ignore[attr-defined]
    needed: list[tuple[type[Callback], type[Callback]]] = [
        (Attach, Attach), (Draws, Draws), (Evaluation, EvaluationLog), (Throughput, Throughput)
    ]  # fmt: skip
    return [added() for kind, added in needed if not any(isinstance(each, kind) for each in present)]


def beside(brought: Sequence[Callback], defaults: Sequence[Callback], *, progress: bool) -> list[Callback]:
    """Return the default callbacks that stand beside the user's own.

    A callback of the same class, or of a class below it, replaces a default one, and any progress bar replaces ours.
    """
    kept = [each for each in defaults if not any(isinstance(own, type(each)) for own in brought)]
    bar = progress and not any(isinstance(own, ProgressBar) for own in brought)
    return [each for each in kept if bar or not isinstance(each, ProgressBar)]
