"""Names of the hosts that take part, so that a missing one can be named."""

from lightning.pytorch import Callback, LightningModule, Trainer

from s2s_lightning.cluster.board import Board


class RollCall(Callback):
    """Each rank says where it runs, so that the others can name it when it is gone."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if (board := Board.of_this_run()) is not None:
            board.attend()
