"""What a run was made of besides its configuration: code, machine, data, parameters."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch import LightningModule, Trainer

from s2s_lightning import __version__
from s2s_lightning.callbacks.run import network, texts
from s2s_lightning.callbacks.summary import parameters_by_part

Facts = dict[str, Any]


def facts(trainer: Trainer, pl_module: LightningModule) -> Facts:
    """All of them, once the data are set up."""
    parts = parameters_by_part(network(pl_module))
    frozen = sum(p.numel() for p in pl_module.parameters() if not p.requires_grad)
    return {
        "code": code(),
        "data": texts(trainer).fingerprints(),
        "parameters": {**parts, "total": sum(parts.values()), "frozen": frozen},
        "hardware": hardware(trainer),
    }


def code() -> Facts:
    """Versions; of a checkout of this package its commit, and whether a file in it was changed since."""
    commit, _, dirty = (_described() or "").partition("-")
    return {
        "s2s_lightning": __version__,
        "commit": commit or None,
        "dirty": bool(dirty) if commit else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "lightning": lightning.__version__,
        "jsonargparse": version("jsonargparse"),
    }


def _described() -> str | None:
    """``commit`` or ``commit-dirty``; None where git does not keep this very file, but perhaps a folder around it."""
    here = Path(__file__)
    git = ("git", "-C", str(here.parent))
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", here.name], check=True, capture_output=True, timeout=10)
        describe = [*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        return subprocess.run(describe, check=True, capture_output=True, timeout=10, text=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def hardware(trainer: Trainer) -> Facts:
    """What the training runs on; memory in GiB."""
    gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return {
        "host": platform.node(),
        "system": platform.platform(),
        "cpu": _cpu(),
        "cpu_cores": os.cpu_count(),
        "gpus": [gpu.name for gpu in gpus],
        "gpu_memory_gib": [round(gpu.total_memory / 2**30, 1) for gpu in gpus],
        "cuda": torch.version.cuda,
        "accelerator": type(trainer.accelerator).__name__.removesuffix("Accelerator").lower(),
        "processes": trainer.world_size,
        "nodes": trainer.num_nodes,
        "precision": str(trainer.precision),
    }


def _cpu() -> str:
    """The model's name where Linux tells it, else what Python knows."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
