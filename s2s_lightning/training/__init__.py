"""Training: the LightningModule, learning rate schedules, and strategies of several ranks."""

from s2s_lightning.training.fsdp_strategy import FSDP
from s2s_lightning.training.module import Seq2SeqModule
from s2s_lightning.training.schedules import (
    Constant,
    Halving,
    InverseSqrt,
    Linear,
    Plateau,
    Schedule,
    WarmupCosine,
)

__all__ = [
    "FSDP",
    "Constant",
    "Halving",
    "InverseSqrt",
    "Linear",
    "Plateau",
    "Schedule",
    "Seq2SeqModule",
    "WarmupCosine",
]
