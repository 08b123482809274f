"""Objectives: losses that a network learns from. An objective returns sums; the module divides them by the effective
batch's tokens.
"""

from s2s_lightning.objectives.costs import BLEUCost, Cost, EditCost
from s2s_lightning.objectives.coverage_loss import CoverageLoss
from s2s_lightning.objectives.cross_entropy import LabelSmoothedCrossEntropy
from s2s_lightning.objectives.decay import (
    ConstantDecay,
    Decay,
    ExponentialDecay,
    InverseSigmoidDecay,
    LinearDecay,
)
from s2s_lightning.objectives.distillation import Distillation
from s2s_lightning.objectives.minimum_risk import MinimumRisk
from s2s_lightning.objectives.objective import Objective, ObjectiveOutput
from s2s_lightning.objectives.r_drop import RDrop
from s2s_lightning.objectives.scheduled_sampling import ScheduledSampling, TeacherForcingRatio

__all__ = [
    "BLEUCost",
    "ConstantDecay",
    "Cost",
    "CoverageLoss",
    "Decay",
    "Distillation",
    "EditCost",
    "ExponentialDecay",
    "InverseSigmoidDecay",
    "LabelSmoothedCrossEntropy",
    "LinearDecay",
    "MinimumRisk",
    "Objective",
    "ObjectiveOutput",
    "RDrop",
    "ScheduledSampling",
    "TeacherForcingRatio",
]
