"""The network, compiled for training."""

import importlib.util
import os
import shutil
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from s2s_lightning.errors import UserError
from s2s_lightning.model import Batch, DecoderOutput
from s2s_lightning.runs.trainer_queries import is_sharded, network


class Compile(Callback):
    """Compiles teacher forcing in training (``torch.compile``), for any length and number of sentences at once.

    Searches, validation and the search for what is not finite run as ever, and so does the loss, which makes its
    gradients itself. Names of weights, and so checkpoints, are the same with and without. Recurrences stay as they are:
    see ``docs/cluster/hardware.md`` for the families that it is of use to.

    Args:
        backend: of torch.compile.

    Raises:
        UserError: the network is sharded, or the default backend finds no compiler.
    """

    def __init__(self, backend: str = "inductor") -> None:
        self.backend = backend

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if is_sharded(pl_module):
            raise UserError("--compile does not compile what FSDP shards: leave one of them out")
        if self.backend == "inductor":
            check_compiler(pl_module.device)
            pl_module.print("the network is compiled in the first steps, which takes a minute or some")
        model = network(pl_module)
        plain = model.teacher_force
        compiled = torch.compile(plain, dynamic=True, backend=self.backend)

        def teacher_force(batch: Batch, need_weights: bool = False) -> DecoderOutput:
            chosen = compiled if model.training and torch.is_grad_enabled() else plain
            output: DecoderOutput = chosen(batch, need_weights)
            return output

        model.teacher_force = teacher_force  # type: ignore[method-assign]

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        vars(network(pl_module)).pop("teacher_force", None)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self.teardown(trainer, pl_module, "fit")


def check_compiler(device: torch.device) -> None:
    """Raises UserError where inductor could not make code."""
    if device.type != "cpu":
        if importlib.util.find_spec("triton") is None:
            raise UserError("--compile needs the package triton on a GPU: install it, or leave --compile out")
    elif not any(map(shutil.which, [os.environ.get("CXX", "g++"), "g++", "clang++", "cl"])):
        raise UserError(
            "--compile needs a C++ compiler on a CPU, and there is neither g++ nor clang++: "
            "install one, name yours in $CXX, or leave --compile out"
        )
