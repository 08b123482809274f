"""All that logs, draws and writes. The network knows none of it."""

from lightning.pytorch import Callback

from s2s_lightning.callbacks.alignment_error_rate import AlignmentErrorRate
from s2s_lightning.callbacks.attention import Attention
from s2s_lightning.callbacks.ema import EMA
from s2s_lightning.callbacks.evaluation import Evaluation
from s2s_lightning.callbacks.find_batch_size import FindBatchSize
from s2s_lightning.callbacks.find_learning_rate import FindLearningRate
from s2s_lightning.callbacks.freezing import Freeze
from s2s_lightning.callbacks.gradient_flow import GradientFlow
from s2s_lightning.callbacks.next_steps import NextSteps
from s2s_lightning.callbacks.non_finite import NonFinite
from s2s_lightning.callbacks.predictions import Predictions
from s2s_lightning.callbacks.pretrained import PretrainedEmbeddings
from s2s_lightning.callbacks.profile import Profile
from s2s_lightning.callbacks.progress import Progress
from s2s_lightning.callbacks.samples import Samples
from s2s_lightning.callbacks.summary import Summary
from s2s_lightning.callbacks.throughput import Throughput
from s2s_lightning.callbacks.token_dropout import DropTokens
from s2s_lightning.callbacks.training_curves import TrainingCurves
from s2s_lightning.callbacks.update_ratio import UpdateRatio

__all__ = [
    "DEFAULT_CALLBACKS",
    "EMA",
    "AlignmentErrorRate",
    "Attention",
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
