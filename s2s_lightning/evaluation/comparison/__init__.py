"""Systems beside each other: scores, intervals, p-values, where they differ; and how that is shown."""

from s2s_lightning.evaluation.comparison.breakdown import Bucket, Difference, by_length, differences
from s2s_lightning.evaluation.comparison.compare import Comparison, Result, System, compare
from s2s_lightning.evaluation.comparison.measures import MEASURES, Measure, choose
from s2s_lightning.evaluation.comparison.resampling import Resampling

__all__ = [
    "MEASURES",
    "Bucket",
    "Comparison",
    "Difference",
    "Measure",
    "Resampling",
    "Result",
    "System",
    "by_length",
    "choose",
    "compare",
    "differences",
]
