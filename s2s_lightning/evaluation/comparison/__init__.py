"""Systems beside each other: scores, intervals, p-values, where they differ; and how that is shown."""

from s2s_lightning.evaluation.comparison.bootstrap import Resampling
from s2s_lightning.evaluation.comparison.breakdown import Bucket, Difference, by_length, differences
from s2s_lightning.evaluation.comparison.measures import MEASURES, Measure, choose
from s2s_lightning.evaluation.comparison.systems import Comparison, Result, System, compare

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
