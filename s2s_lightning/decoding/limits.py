"""How long an output may be."""

from typing import NamedTuple

from torch import Tensor

from s2s_lightning.decoding.base import Decoding
from s2s_lightning.errors import UserError


class Limits(NamedTuple):
    """Of each sentence, (B,): the fewest and the most tokens that may be emitted, EOS counted."""

    shortest: Tensor
    longest: Tensor


class LengthLimited(Decoding):
    """A search whose outputs are bounded by the length of their own source, whatever else is in the batch.

    Lengths are in tokens with EOS counted, on both sides. At its maximum a hypothesis is cut, not closed with an EOS
    that the model did not want: ``finished`` is False, and ``log_prob`` is that of the tokens alone.

    Args:
        max_length: the most tokens of an output.
        max_length_ratio: the most tokens of an output a source token, ``max_length_offset`` not counted; .inf leaves
            ``max_length`` alone to decide.
        max_length_offset: tokens that any output may have beyond the ratio, so that short sources are not cut.
        min_length: the fewest tokens of an output.
        min_length_ratio: the fewest tokens of an output a source token.

    Raises:
        UserError: a minimum above its maximum, or no room for a single token.
    """

    def __init__(
        self,
        *,
        max_length: int = 500,
        max_length_ratio: float = 2.0,
        max_length_offset: int = 10,
        min_length: int = 0,
        min_length_ratio: float = 0.0,
    ) -> None:
        if max_length < 1 or max_length_offset < 1:
            raise UserError(
                f"max_length {max_length} and max_length_offset {max_length_offset} must leave room for EOS: at least 1"
            )
        if min_length > max_length or min_length_ratio > max_length_ratio:
            raise UserError(
                f"min_length {min_length} (ratio {min_length_ratio}) is above "
                f"max_length {max_length} (ratio {max_length_ratio}): lower it"
            )
        self.max_length = max_length
        self.max_length_ratio = max_length_ratio
        self.max_length_offset = max_length_offset
        self.min_length = min_length
        self.min_length_ratio = min_length_ratio

    def limits(self, src_padding: Tensor) -> Limits:
        """From the real tokens of each source: src_padding (B, S), True at padding."""
        src_length = (~src_padding).sum(1).double()
        longest = src_length * self.max_length_ratio + self.max_length_offset
        shortest = (src_length * self.min_length_ratio).clamp(min=self.min_length)
        return Limits(shortest.ceil().long(), longest.clamp(max=self.max_length).long())
