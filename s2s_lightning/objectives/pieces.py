"""Functions of log-probabilities, a few positions at a time: those of all positions never exist together."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from s2s_lightning import PAD
from s2s_lightning.model import DecoderOutput, Seq2Seq
from s2s_lightning.nn.linear_cross_entropy import CPU_LOGITS, GPU_LOGITS


class Said(NamedTuple):
    """A network and what its decoder said of a target."""

    model: Seq2Seq
    output: DecoderOutput

    def split(self, size: int) -> list["Said"]:
        """Pieces of ``size`` positions."""
        return [self._replace(output=piece) for piece in self.output.split(size)]

    def log_probs(self) -> Tensor:
        """(B, T, V)."""
        return self.model.log_probs(self.output)


def by_pieces(function: Callable[..., Tensor], target: Tensor, *said: Said, size: int | None = None) -> Tensor:
    """``function(target, *log_probs)`` (B, T) for target (B, T) and log_probs (B, T, V) of each network.

    The function works position by position. In the backward pass it is called again, log-probabilities included,
    instead of keeping what it made: that costs one more readout.

    Args:
        size: positions that exist at a time; by default, as many as the cross-entropy allows itself.
    """

    def of_piece(ids: Tensor, *piece: Said) -> Tensor:
        return function(ids, *(part.log_probs() for part in piece))

    size = size or _affordable(target, *said)
    pieces = zip(torch.split(target, size, 1), *(part.split(size) for part in said), strict=True)
    return torch.cat([checkpoint(of_piece, *piece, use_reentrant=False) for piece in pieces], 1)


def _affordable(target: Tensor, *said: Said) -> int:
    vocab_size = max(part.model.tgt_vocab_size for part in said)
    scores = CPU_LOGITS if target.device.type == "cpu" else GPU_LOGITS
    return max(1, scores // (len(target) * vocab_size))


def finite(log_probs: Tensor) -> Tensor:
    """The logarithm of the least positive number for that of 0, which no word to copy has: 0 times it is 0, not NaN."""
    least = math.log(torch.finfo(log_probs.dtype).tiny)
    return log_probs.nan_to_num(nan=math.nan, posinf=math.inf, neginf=least)


def log_prob_of(target: Tensor, log_probs: Tensor) -> Tensor:
    """(B, T) log p(target), 0 at padding."""
    chosen = log_probs.gather(-1, target.unsqueeze(-1)).squeeze(-1)
    return chosen.masked_fill(target == PAD, 0)
