"""Tracking: the record of a run, its default logger, and the W&B run that it belongs to."""

from s2s_lightning.tracking.identity import Identity, copied_from, identity_of
from s2s_lightning.tracking.loggers import loggers
from s2s_lightning.tracking.record import Record
from s2s_lightning.tracking.wandb_logger import Wandb

__all__ = ["Identity", "Record", "Wandb", "copied_from", "identity_of", "loggers"]
