"""Settings that Lightning accepts and cannot use: refused in one line before data are prepared."""

import os
from typing import Any

import torch

from s2s_lightning.errors import UserError, check_at_least, check_at_most

AT_LEAST = {
    "accumulate_grad_batches": 1,
    "check_val_every_n_epoch": 1,
    "gradient_clip_val": 0,
    "log_every_n_steps": 0,
    "num_sanity_val_steps": -1,
    "min_steps": 0,
    "min_epochs": 0,
}
"""Option of the Trainer -> its smallest value."""

NOTHING = ("max_steps", "max_epochs", "limit_train_batches")
"""Options of the Trainer that leave nothing to train at 0."""

PROCESSES_A_CORE = 8
"""Processes that share a core at most; each needs some 300 MB before it does anything."""


def check_trainer(settings: Any, command: str) -> None:
    """Raise UserError for settings of the Trainer that cannot be meant.

    Args:
        settings: the Trainer's options, by name.
        command: the command that is to run.
    """
    for name, minimum in AT_LEAST.items():
        check_at_least(minimum, **{f"--trainer.{name}": settings[name]})
    check_at_most(2**31 - 1, **{"--trainer.accumulate_grad_batches": settings["accumulate_grad_batches"]})
    if settings["val_check_interval"] == 0:
        raise UserError("--trainer.val_check_interval=0: it must be above 0; null means once an epoch")
    if command == "fit" and (idle := next((name for name in NOTHING if settings[name] == 0), None)):
        raise UserError(f"--trainer.{idle}=0 leaves nothing to train: raise it, or take validate to score a checkpoint")
    _check_devices(settings["devices"], on_cpu(settings["accelerator"]))


def on_cpu(accelerator: Any) -> bool:
    """True if the Trainer takes the CPU for this setting of the accelerator."""
    return accelerator == "cpu" or (accelerator == "auto" and not torch.accelerator.is_available())


def _check_devices(devices: Any, cpu: bool) -> None:
    try:
        number = int(devices)
    except (TypeError, ValueError):  # "auto", a list: Lightning's own
        return
    if number < 1 and (cpu or number != -1):
        raise UserError(f"--trainer.devices={devices}: it must be 1 or more" + ("" if cpu else ", or -1 for all"))
    most = PROCESSES_A_CORE * (os.cpu_count() or 1)
    if cpu and number > most:
        raise UserError(f"--trainer.devices={devices}: {most} processes are the most for {os.cpu_count()} cores")
