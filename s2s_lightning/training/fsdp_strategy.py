"""Fully sharded data parallel training as a strategy of Lightning."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from s2s_lightning.errors import UserError
from s2s_lightning.model import Seq2Seq
from s2s_lightning.training.optimizer_state import NAMES, fitted, names_of_groups

WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


class FSDP(ModelParallelStrategy):
    """Fully sharded data parallel training (FSDP2; Zhao et al., 2023, arXiv:2304.11277): no rank has the whole network.

    Each keeps a part of the weights, the gradients and the optimizer's state, and gathers encoder, decoder and the rest
    when it needs them. For an evaluation the whole network is gathered once, since a search takes another number of
    steps on each rank. A checkpoint is one file as DDP's, and either goes on with the other's.

    Args:
        timeout: how long a rank waits for the others before the run fails.
        process_group_backend: nccl on GPUs and gloo on CPUs by default.

    Raises:
        UserError: a callback needs the weights as a whole, as its ``needs_whole_weights`` says.
    """

    def __init__(self, timeout: timedelta = timedelta(minutes=5), process_group_backend: str | None = None) -> None:
        super().__init__(
            tensor_parallel_size=1,
            save_distributed_checkpoint=False,
            process_group_backend=process_group_backend,
            timeout=timeout,
        )

    def setup_environment(self) -> None:
        assert self.lightning_module is not None
        for callback in self.lightning_module.trainer.callbacks:  # type: ignore[attr-defined]
            if getattr(callback, "needs_whole_weights", False):
                raise UserError(
                    f"{type(callback).__name__} needs the weights as a whole, and FSDP shards them: leave it out, or "
                    "train with configs/hardware/ddp_bf16.yaml"
                )
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Return the state of all ranks, on the first; numbered as the optimizer does and not, as Lightning's, by the
        network.
        """
        assert self.model is not None
        inner = optimizer._optimizer if isinstance(optimizer, LightningOptimizer) else optimizer
        state: dict[str, Any] = get_optimizer_state_dict(self.model, inner, options=WHOLE)
        if not state:
            return state
        names = [list(group["params"]) for group in state["param_groups"]]
        return {**renamed(state, {name: number for number, name in enumerate(names_of(state))}), NAMES: names}

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
        assert self.model is not None
        checkpoint: dict[str, Any] = torch.load(checkpoint_path, "cpu", weights_only=weights_only, mmap=True)
        parts = self.model.state_dict()  # by each name of a shared matrix, which torch's own loading does not know
        self.model.load_state_dict({name: alike(x, parts.get(name)) for name, x in checkpoint["state_dict"].items()})
        names = {parameter: name for name, parameter in self.model.named_parameters()}
        for optimizer, state in zip(self.optimizers, checkpoint.get("optimizer_states", []), strict=False):
            own = [name for group in names_of_groups(optimizer, names) for name in group]
            make: Any = self.lightning_module and self.lightning_module.optimizer
            state = fitted(state, optimizer, names, make)
            if 0 < len(state["state"]) < len(own):
                raise UserError(
                    f"the optimizer's state in the checkpoint is of {len(state['state'])} of {len(own)} parameters, "
                    "and FSDP needs all: freeze what was frozen, or go on with configs/hardware/ddp_bf16.yaml"
                )
            named = renamed(state, dict(enumerate(own)))
            set_optimizer_state_dict(self.model, optimizer, named, options=WHOLE)
        return checkpoint

    def on_validation_start(self) -> None:
        """Gather the whole network."""
        for part in self._parts():
            part.set_reshard_after_forward(False, recurse=False)
            part.unshard()

    def on_validation_end(self) -> None:
        """Give back what is not this rank's."""
        for part in self._parts():
            outermost = isinstance(part, Seq2Seq)  # which the backward pass needs at once
            part.set_reshard_after_forward(not outermost, recurse=False)
            part.reshard()

    on_test_start = on_predict_start = on_validation_start
    on_test_end = on_predict_end = on_validation_end

    def _parts(self) -> list[FSDPModule]:
        assert self.model is not None
        return [part for part in self.model.modules() if isinstance(part, FSDPModule)]


def alike(x: Tensor, own: Tensor | None) -> Tensor:
    """The part of x that this rank keeps of what it is loaded into."""
    if not isinstance(own, DTensor):
        return x
    return distribute_tensor(x.to(own.device), own.device_mesh, own.placements, src_data_rank=None)


def names_of(state: dict[str, Any]) -> list[Any]:
    """The parameters of an optimizer's state in the order of its groups, by the names or numbers that it has them."""
    return [name for group in state["param_groups"] for name in group["params"]]


def renamed(state: dict[str, Any], names: dict[Any, Any]) -> dict[str, Any]:
    """The state of an optimizer with other names or numbers for its parameters."""
    groups = [{**group, "params": [names[name] for name in group["params"]]} for group in state["param_groups"]]
    return {"state": {names[name]: values for name, values in state["state"].items()}, "param_groups": groups}
