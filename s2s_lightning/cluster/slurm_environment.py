"""A job of SLURM as Lightning sees it."""

import os

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

from s2s_lightning.cluster.loopback import ADDRESS
from s2s_lightning.errors import UserError


class Slurm(SLURMEnvironment):
    """Each process is a task of ``srun``, which says its rank.

    Lightning's own requeueing is off: it saves in the handler of a signal, and hangs there if another rank is a moment
    behind. What takes its place is ``callbacks/stopping.py``.
    """

    def __init__(self) -> None:
        super().__init__(auto_requeue=False)

    @property
    def main_address(self) -> str:
        """The loopback address where the job has one node, so that its store is not on the network."""
        if "MASTER_ADDR" not in os.environ and os.environ.get("SLURM_NNODES") == "1":
            return ADDRESS
        return super().main_address

    def node_rank(self) -> int:
        """Raises UserError where srun has not started this process."""
        if "SLURM_NODEID" not in os.environ:
            raise UserError("srun starts the processes of this configuration, as scripts/slurm.sbatch does")
        return super().node_rank()
