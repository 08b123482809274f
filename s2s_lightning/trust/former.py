"""Names of modules before their files were moved, so that what was written with them keeps loading."""

import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

FORMER = {
    f"s2s_lightning.{former}": f"s2s_lightning.{now}"
    for former, now in {
        "architecture": "model",
        "batch": "model.batch",
        "callbacks.alignment_error_rate": "callbacks.attention.alignment_error_rate",
        "callbacks.attention_maps": "callbacks.attention.attention_maps",
        "callbacks.checkpoints": "callbacks.checkpointing.checkpoints",
        "callbacks.ema": "callbacks.weights.ema",
        "callbacks.evaluation": "callbacks.reports.evaluation",
        "callbacks.find_batch_size": "callbacks.finders.find_batch_size",
        "callbacks.find_learning_rate": "callbacks.finders.find_learning_rate",
        "callbacks.freezing": "callbacks.weights.freeze",
        "callbacks.gradient_flow": "callbacks.diagnostics.gradient_flow",
        "callbacks.next_steps": "callbacks.reports.next_steps",
        "callbacks.non_finite": "callbacks.diagnostics.non_finite",
        "callbacks.predictions": "callbacks.reports.predictions",
        "callbacks.pretrained": "callbacks.weights.pretrained",
        "callbacks.profile": "callbacks.diagnostics.profile",
        "callbacks.progress": "callbacks.reports.progress",
        "callbacks.samples": "callbacks.reports.samples",
        "callbacks.summary": "callbacks.reports.summary",
        "callbacks.throughput": "callbacks.reports.throughput",
        "callbacks.token_dropout": "callbacks.weights.drop_tokens",
        "callbacks.training_curves": "callbacks.reports.training_curves",
        "callbacks.update_ratio": "callbacks.diagnostics.update_ratio",
        "loss": "nn.linear_cross_entropy",
        "metrics": "evaluation.metrics",
        "module": "training.module",
        "schedules": "training.schedules",
        "strategies": "training.fsdp_strategy",
        "trained": "inference.trained",
        "utilities": "evaluation.mbr_utilities",
    }.items()
}
"""Former name of a module with public classes -> the module or package that has them now."""


def former_names(module: str, name: str) -> Iterator[str]:
    """Yield the full names that a class of a module had before its file was moved."""
    for former, now in FORMER.items():
        if module == now or module.startswith(f"{now}."):
            yield f"{former}.{name}"


class FormerModules(MetaPathFinder, Loader):
    """Imports a module under a former name as the module that it is now."""

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return a spec for former names alone."""
        return ModuleSpec(fullname, self) if fullname in FORMER else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the module of today."""
        module = import_module(FORMER[spec.name])
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Give the module its own spec back; it has run already."""
        former: Any = module.__spec__
        module.__spec__ = former.loader_state


def keep_former_names() -> None:
    """Let Python import modules under their former names."""
    if not any(isinstance(finder, FormerModules) for finder in sys.meta_path):
        sys.meta_path.append(FormerModules())
