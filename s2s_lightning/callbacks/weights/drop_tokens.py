"""Dropout of whole tokens, for every architecture alike."""

from lightning.pytorch import Callback, LightningModule, Trainer

from s2s_lightning.errors import check_below_one
from s2s_lightning.runs.trainer_queries import network


class DropTokens(Callback):
    """Drops whole tokens on their way into the network, in training alone; all probabilities are 0 or more, below 1.

    Args:
        src_word: probability that a source token is read as UNK.
        tgt_word: probability that a target token is read as UNK; what is to be said stays.
        src_embedding: probability that a word's vector is zero in a source, at all its places there.
        tgt_embedding: probability that a word's vector is zero in a target, at all its places there.

    Raises:
        UserError: a probability out of its range.
    """

    def __init__(
        self,
        src_word: float = 0.0,
        tgt_word: float = 0.0,
        src_embedding: float = 0.0,
        tgt_embedding: float = 0.0,
    ) -> None:
        check_below_one(src_word=src_word, tgt_word=tgt_word, src_embedding=src_embedding, tgt_embedding=tgt_embedding)
        self.src = (src_word, src_embedding)
        self.tgt = (tgt_word, tgt_embedding)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        network(pl_module).src_dropout.set(*self.src)
        network(pl_module).tgt_dropout.set(*self.tgt)
