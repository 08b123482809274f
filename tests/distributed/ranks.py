"""Several processes that train together over gloo, each a rank, as a launcher would start them."""

import os
import socket
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities import rank_zero_only

TIMEOUT = timedelta(seconds=60)
RANKS = "RANKS_OF_THE_TEST"  # for Lightning forgets WORLD_SIZE after a fit


def over(world_size: int, folder: Path, job: Callable[..., Any], *args: Any) -> list[Any]:
    """What ``job(*args)`` returns on each rank; the first failure is raised here.

    The ranks are forked from one server, so that torch is imported once for all of them.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), RANKS: str(world_size), "NODE_RANK": "0"}
    given = ({**os.environ, **place}, str(folder), job, args)
    torch.multiprocessing.get_context("forkserver").set_forkserver_preload([__name__, "tests.distributed.jobs"])
    torch.multiprocessing.start_processes(_rank, given, nprocs=world_size, start_method="forkserver")
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(world_size)]


def _rank(rank: int, environment: dict[str, str], folder: str, job: Callable[..., Any], args: tuple[Any, ...]) -> None:
    os.environ.clear()  # of what the server was started with
    os.environ.update(environment, LOCAL_RANK=str(rank))
    rank_zero_only.rank = rank  # as Lightning finds it when it is imported by a process that is a rank already
    torch.set_num_threads(1)
    torch.save(job(*args), Path(folder) / f"{rank}.pt")


def world() -> int:
    """How many ranks there are."""
    return int(os.environ[RANKS])


def quiet_trainer(folder: Path, **options: Any) -> Trainer:
    """A Trainer of this rank that says nothing."""
    quiet = {"logger": False, "enable_model_summary": False, "enable_checkpointing": False}
    defaults = {"accelerator": "cpu", "devices": world(), "num_sanity_val_steps": 0, "enable_progress_bar": False}
    strategy = DDPStrategy(process_group_backend="gloo", timeout=TIMEOUT)
    settings = {"use_distributed_sampler": False, "strategy": strategy, "default_root_dir": str(folder)}
    return Trainer(**{**quiet, **defaults, **settings, **options})
