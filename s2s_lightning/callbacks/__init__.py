"""Callbacks: everything that logs, draws and writes. The network knows none of it."""

from lightning.pytorch import Callback

from s2s_lightning.callbacks.attention.alignment_error_rate import AlignmentErrorRate
from s2s_lightning.callbacks.attention.validation_attention import Attention
from s2s_lightning.callbacks.checkpointing.checkpoints import BestAndLast
from s2s_lightning.callbacks.diagnostics.gradient_flow import GradientFlow
from s2s_lightning.callbacks.diagnostics.non_finite import NonFinite
from s2s_lightning.callbacks.diagnostics.profile import Profile
from s2s_lightning.callbacks.diagnostics.update_ratio import UpdateRatio
from s2s_lightning.callbacks.finders.find_batch_size import FindBatchSize
from s2s_lightning.callbacks.finders.find_learning_rate import FindLearningRate
from s2s_lightning.callbacks.reports.evaluation import Evaluation
from s2s_lightning.callbacks.reports.next_steps import NextSteps
from s2s_lightning.callbacks.reports.predictions import Predictions
from s2s_lightning.callbacks.reports.progress import Progress
from s2s_lightning.callbacks.reports.samples import Samples
from s2s_lightning.callbacks.reports.summary import Summary
from s2s_lightning.callbacks.reports.throughput import Throughput
from s2s_lightning.callbacks.reports.training_curves import TrainingCurves
from s2s_lightning.callbacks.weights.drop_tokens import DropTokens
from s2s_lightning.callbacks.weights.ema import EMA
from s2s_lightning.callbacks.weights.freeze import Freeze
from s2s_lightning.callbacks.weights.pretrained import PretrainedEmbeddings

__all__ = [
    "DEFAULT_CALLBACKS",
    "EMA",
    "AlignmentErrorRate",
    "Attention",
    "BestAndLast",
    "DropTokens",
    "Evaluation",
    "FindBatchSize",
    "FindLearningRate",
    "Freeze",
    "GradientFlow",
    "NextSteps",
    "NonFinite",
    "Predictions",
    "PretrainedEmbeddings",
    "Profile",
    "Progress",
    "Samples",
    "Summary",
    "Throughput",
    "TrainingCurves",
    "UpdateRatio",
]

DEFAULT_CALLBACKS: dict[str, type[Callback]] = {
    "drop_tokens": DropTokens,
    "summary": Summary,
    "evaluation": Evaluation,  # before all that read its metrics
    "throughput": Throughput,
    "non_finite": NonFinite,
    "curves": TrainingCurves,
    "samples": Samples,
    "attention": Attention,
    "alignment": AlignmentErrorRate,
    "predictions": Predictions,
    "progress": Progress,
    "next_steps": NextSteps,
}
"""What every run of the command line has, under the name of its group of options, in the order of their hooks."""
