"""Place of this process among several, by the variables of its starter: torchrun, Lightning or SLURM."""

import os
import socket
from typing import NamedTuple


class Place(NamedTuple):
    """A process among those of a run."""

    rank: int
    """Rank 0 speaks for all."""
    local: int
    """The rank among the processes of its machine."""
    alone: bool
    several_nodes: bool


def place() -> Place:
    """This process, also before the processes have found each other.

    The variables are read in Lightning's order. SLURM's are set in a job's script too, outside of ``srun``.
    """
    rank = _number("RANK", "LOCAL_RANK", "SLURM_PROCID")
    alone = not rank and _number("WORLD_SIZE", "SLURM_NTASKS", default=1) == 1
    nodes = _number("GROUP_WORLD_SIZE", "SLURM_NNODES", default=1)
    return Place(rank, _number("LOCAL_RANK", "SLURM_LOCALID"), alone, nodes > 1 or bool(_number("NODE_RANK")))


def host() -> str | None:
    """The name of this machine where there are several, None otherwise."""
    return socket.gethostname() if place().several_nodes else None


def named(rank: int, host: str | None = None) -> str:
    """Return the place as a user reads it."""
    return f"rank {rank} on {host}" if host else f"rank {rank}"


def of_torchrun() -> bool:
    """True if an agent of torchrun watches this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def started_by_rank_0() -> bool:
    """True if the first process of this machine has started this one, as Lightning does without another starter."""
    return place().local > 0 and not of_torchrun() and "SLURM_LOCALID" not in os.environ


def torchrun_size() -> tuple[int, int] | None:
    """Nodes and processes a node, if torchrun is what started this one: they may change from start to start."""
    if not of_torchrun():
        return None
    return _number("GROUP_WORLD_SIZE", default=1), _number("LOCAL_WORLD_SIZE", default=1)


def _number(*names: str, default: int = 0) -> int:
    """Return the number in the first variable that is set."""
    return next((int(os.environ[name]) for name in names if os.environ.get(name, "").isdecimal()), default)
