"""What every search takes and gives."""

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor

from s2s_lightning.architecture import Seq2Seq


class Hypothesis(NamedTuple):
    """One output of a search.

    Attributes:
        tokens: target ids, without BOS and without EOS; V + i is the source's word at position i.
        log_prob: the model's own log-probability of the tokens, EOS included if it was emitted.
        score: what the search ranked by.
        finished: EOS was emitted; False when the maximum length cut it.
    """

    tokens: list[int]
    log_prob: float
    score: float
    finished: bool


class Decoding(ABC):
    """A search. Its settings are constructor arguments; PAD and BOS are never emitted."""

    @abstractmethod
    def __call__(
        self, model: Seq2Seq, src: Tensor, src_padding: Tensor, src_copy: Tensor | None = None
    ) -> list[list[Hypothesis]]:
        """The n best of each sentence, best first, for src, src_padding and src_copy (B, S) as in ``Batch``."""
