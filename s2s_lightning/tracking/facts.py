"""Facts of a run besides its configuration: time, command, code, machine, data, parameters."""

import os
import platform
import shlex
import subprocess
import sys
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch import LightningModule, Trainer

from s2s_lightning import PROGRAM, __version__
from s2s_lightning.callbacks.reports.summary import parameters_by_part
from s2s_lightning.errors import without_secrets
from s2s_lightning.runs.trainer_queries import network, texts

Facts = dict[str, Any]

DESCRIBE = ("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
"""git's words for the commit, with -dirty where a file was changed since."""


def facts(trainer: Trainer, pl_module: LightningModule) -> Facts:
    """Return all facts, once the data are set up."""
    parts = parameters_by_part(network(pl_module))
    frozen = sum(p.numel() for p in pl_module.parameters() if not p.requires_grad)
    return {
        "start": now(),
        "command": command(),
        "repository": repository(Path.cwd()),
        "code": code(),
        "data": getattr(texts(trainer), "fingerprints", dict)(),
        "parameters": {**parts, "total": sum(parts.values()), "frozen": frozen},
        "hardware": hardware(trainer),
    }


def now() -> str:
    """Return the time with its zone, to the second."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def command() -> str:
    """Return what was typed, without secrets."""
    ours = Path(sys.argv[0]).name in ("__main__.py", "s2s_lightning")
    return without_secrets(shlex.join([*(PROGRAM if ours else f"python {sys.argv[0]}").split(" "), *sys.argv[1:]]))


def repository(folder: Path) -> Facts | None:
    """Return the commit of the git repository around a folder, and whether a file was changed since; None elsewhere."""
    commit, _, dirty = (_git(folder, *DESCRIBE) or "").partition("-")
    return {"commit": commit, "dirty": bool(dirty)} if commit else None


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
    kept = _git(here.parent, "ls-files", "--error-unmatch", here.name)
    return kept and _git(here.parent, *DESCRIBE)


def _git(folder: Path, *words: str) -> str | None:
    """Return what git says in a folder; None where it fails or is not installed."""
    try:
        git = ("git", "-C", str(folder), *words)
        return subprocess.run(git, check=True, capture_output=True, timeout=10, text=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def hardware(trainer: Trainer) -> Facts:
    """Return the hardware of the training; memory in GiB."""
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
