"""Evaluation: metrics of a test set, and the comparison of systems."""

from s2s_lightning.evaluation.metrics import (
    ROUGE,
    TER,
    ChrF,
    ErrorRates,
    Metric,
    SacreBLEU,
    Score,
    SummedMetric,
)

__all__ = ["ROUGE", "TER", "ChrF", "ErrorRates", "Metric", "SacreBLEU", "Score", "SummedMetric"]
