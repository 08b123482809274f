"""Seq2SeqModule: the LightningModule that every family shares. Callbacks do what concerns text, pictures and logs."""

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, ClassVar, Self

import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from s2s_lightning import PAD
from s2s_lightning.data.position import accumulated, accumulation
from s2s_lightning.decoding import Decoding, Greedy, Hypothesis
from s2s_lightning.errors import UserError
from s2s_lightning.model import Batch, Seq2Seq
from s2s_lightning.objectives import LabelSmoothedCrossEntropy, Objective
from s2s_lightning.training.follow_metric import FollowMetric
from s2s_lightning.training.optimizer_state import keep_names
from s2s_lightning.training.schedules import Constant, Schedule
from s2s_lightning.training.shards import shard
from s2s_lightning.trust.names import full_name

OptimizerCallable = Callable[[Iterable[Any]], Optimizer]


class Seq2SeqModule(LightningModule):
    """A network, what it learns from, and how it is searched.

    The network is a hyperparameter of the checkpoint; what one may change at test time or on resume is not: the
    attributes below are set by the command line (``--objective``, ``--decoding``, ``--optimizer``, ``--schedule``) or
    by hand, and a checkpoint never overrides them.
    """

    contract: ClassVar = (
        "__init__(self, src_vocab_size, tgt_vocab_size=None, ...), which calls super().__init__(assemble(...))"
    )

    def __init__(self, model: Seq2Seq) -> None:
        super().__init__()
        self.save_hyperparameters(ignore=["model"])
        self.model = model
        self.objective: Objective = LabelSmoothedCrossEntropy()
        self.decoding: Decoding = Greedy()
        self.optimizer: OptimizerCallable = partial(AdamW, lr=1e-3)
        self.schedule: Schedule = Constant()
        self.loaded_at: tuple[int, int] | None = None

    def configure(
        self,
        *,
        objective: Objective | None = None,
        decoding: Decoding | None = None,
        optimizer: OptimizerCallable | None = None,
        schedule: Schedule | None = None,
    ) -> Self:
        """Set what the network learns from and how it is searched; None leaves a part as it is.

        Args:
            objective: the loss.
            decoding: the search of evaluation.
            optimizer: parameters to an optimizer, such as ``partial(AdamW, lr=3e-4)``.
            schedule: the learning rate over time.

        Returns:
            The module: ``Transformer(...).configure(decoding=Beam(4))``.
        """
        parts = {"objective": objective, "decoding": decoding, "optimizer": optimizer, "schedule": schedule}
        for name, part in parts.items():
            if part is not None:
                setattr(self, name, part)
        return self

    def setup(self, stage: str) -> None:
        """Raise UserError for a network that numbers the words of the text, below data that turn them round."""
        tokenizers = getattr(getattr(self.trainer, "datamodule", None), "tokenizers", None)
        if tokenizers is None or not tokenizers.reverse_source:
            return
        if any(getattr(part, "needs_source_order", False) for part in self.model.modules()):
            raise UserError(
                "data.reverse_source=true turns sources round, and window=monotonic counts words from the first: "
                "set it to false; with direction=backward the encoder itself reads from the end"
            )

    def configure_callbacks(self) -> list[Callback]:
        """Return what a plain ``Trainer`` lacks: callbacks that log, and one for a schedule that follows a metric."""
        from s2s_lightning.python.trainers import missing_callbacks  # what brings the parts together stands above them

        following = [FollowMetric(self.schedule.monitor)] if self.schedule.monitor else []
        return [*missing_callbacks(self.trainer), *following]

    def on_train_start(self) -> None:
        """Lightning's scheduler of accumulation acts at the start of an epoch, which a resumed run may be past."""
        self.loaded_at = None
        self.trainer.accumulate_grad_batches = accumulated(self.trainer, self.trainer.current_epoch)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Refuse an optimizer step that is not the one which the divisor of its batches was counted for."""
        trainer = self.trainer
        sampler = getattr(trainer.train_dataloader, "sampler", None)
        if check := getattr(sampler, "check_window", None):
            check(trainer.accumulate_grad_batches, trainer.world_size, trainer.limit_train_batches or 1.0)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """The loss's gradient is that of the mean over all real target tokens of the effective batch."""
        self.objective.step = self.trainer.global_step
        total, tokens, parts = self.objective(self.model, batch)
        # Lightning divides by the micro-batches and DDP by the ranks; the divisor counts all of them already.
        scale = self.trainer.accumulate_grad_batches * self.trainer.world_size
        return {"loss": total * scale / batch.divisor, "tokens": tokens, "parts": parts}

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """Teacher-forced scores and the search's output, a row a sentence; callbacks make metrics of them."""
        return {"index": batch.rows, **self.token_scores(batch), "hypotheses": self.generate(batch)}

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        return self.validation_step(batch, batch_idx)

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        return {"index": batch.rows, "hypotheses": self.generate(batch)}

    def generate(self, batch: Batch) -> list[list[Hypothesis]]:
        """The n best of each sentence, best first; only the source is read."""
        return self.decoding(self.model, batch.src, batch.src_padding, batch.src_copy)

    def token_scores(self, batch: Batch, piece: int = 16) -> dict[str, Tensor]:
        """Return for each sentence (B,): ``nll`` in nats, ``correct`` tokens by argmax, real ``tokens``.

        The readout sees ``piece`` positions at a time, so that the (B, T, V) scores never exist whole.
        """
        output = self.model.teacher_force(batch)
        nll, correct = [], []
        for said, target in zip(output.split(piece), torch.split(batch.tgt_out, piece, 1), strict=True):
            log_probs = self.model.log_probs(said)
            nll.append(-log_probs.gather(-1, target.unsqueeze(-1)).squeeze(-1))
            correct.append(log_probs.argmax(-1) == target)
        real = batch.tgt_out != PAD
        return {
            "nll": (torch.cat(nll, 1) * real).sum(1),
            "correct": (torch.cat(correct, 1) & real).sum(1),
            "tokens": real.sum(1),
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """A checkpoint names its class; parts that came by class path are no plain settings, and left to the run's."""
        checkpoint["class_path"] = full_name(type(self))
        settings = checkpoint[self.CHECKPOINT_HYPER_PARAMS_KEY]
        checkpoint[self.CHECKPOINT_HYPER_PARAMS_KEY] = {k: v for k, v in settings.items() if not callable(v)}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the weights themselves where a run has no moving average of them any more."""
        trainer = self._trainer
        trains = trainer is not None and trainer.state.fn == "fit"
        self.loaded_at = None if trains else (checkpoint.get("global_step", 0), checkpoint.get("epoch", 0))
        if trainer is None or not trains or "current_model_state" not in checkpoint:
            return
        if not any(isinstance(callback, WeightAveraging) for callback in trainer.callbacks):  # type: ignore[attr-defined]
            rank_zero_info("changed: no moving average any more: training goes on with the weights themselves")
            checkpoint["state_dict"] = checkpoint["current_model_state"]

    def configure_model(self) -> None:
        """Shard the network, where the strategy has a mesh of ranks to shard it over."""
        if self.device_mesh is not None:
            shard(self.model, self.device_mesh["data_parallel"])

    def configure_optimizers(self) -> Any:
        if self.schedule.monitor and not any(isinstance(each, FollowMetric) for each in self.trainer.callbacks):  # type: ignore[attr-defined]
            raise UserError(
                f"schedule {type(self.schedule).__name__} hears of no validation: {type(self).__name__}."
                "configure_callbacks must return what super().configure_callbacks() returns, too"
            )
        optimizer = self._optimizer()
        optimizer.register_step_post_hook(self._project)
        # A fused optimizer would unscale the gradients in its own step: too late for clipping, which Lightning refuses.
        optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
        keep_names(optimizer, self, self.optimizer)
        entry = {
            "scheduler": self.schedule.build(optimizer, self._total_steps),
            "interval": self.schedule.interval,
            "monitor": self.schedule.monitor,
        }
        return {"optimizer": optimizer, "lr_scheduler": entry}

    def _optimizer(self) -> Optimizer:
        """Build the optimizer, in groups only where there is weight decay: some optimizers take none."""
        try:
            optimizer = self.optimizer([p for p in self.model.parameters() if p.requires_grad])
            decays = optimizer.defaults.get("weight_decay")
            return self.optimizer(decay_groups(self.model)) if decays else optimizer
        except (TypeError, ValueError) as error:
            raise UserError(f"the optimizer does not take these parameters or settings: {error}") from error

    def _project(self, *_: Any) -> None:
        """Put weights that have a bound back within it: each module with a method ``project_to_bound``."""
        for part in self.model.modules():
            if callable(project := getattr(part, "project_to_bound", None)):
                project()

    def _total_steps(self) -> float:
        """Count the optimizer steps of the run, also where Lightning's callback changes the accumulation."""
        trainer, estimate = self.trainer, self.trainer.estimated_stepping_batches
        size = accumulation(trainer)
        if not callable(size) or trainer.max_epochs in (None, -1):
            return estimate
        batches, limit = trainer.num_training_batches, math.inf if trainer.max_steps == -1 else trainer.max_steps
        return min(limit, sum(math.ceil(batches / size(epoch)) for epoch in range(trainer.max_epochs)))


def decay_groups(model: nn.Module) -> list[dict[str, Any]]:
    """Return two groups: weight decay acts on matrices and embeddings, not on biases, gains of norms or other vectors.

    Vectors that a module stacks in one tensor are vectors: it names them in ``stacked_vectors``.
    """
    stacked = {id(getattr(part, name)) for part in model.modules() for name in getattr(part, "stacked_vectors", ())}
    parameters = [p for p in model.parameters() if p.requires_grad]
    vectors = {id(p) for p in parameters if p.ndim < 2 or id(p) in stacked}
    return [
        {"params": [p for p in parameters if id(p) not in vectors]},
        {"params": [p for p in parameters if id(p) in vectors], "weight_decay": 0.0},
    ]
