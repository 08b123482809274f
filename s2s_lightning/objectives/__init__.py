"""What a network learns from. An objective returns sums; the module divides them by the effective batch's tokens."""

from s2s_lightning.objectives.base import Objective, ObjectiveOutput
from s2s_lightning.objectives.coverage import CoverageLoss
from s2s_lightning.objectives.cross_entropy import LabelSmoothedCrossEntropy

__all__ = ["CoverageLoss", "LabelSmoothedCrossEntropy", "Objective", "ObjectiveOutput"]
