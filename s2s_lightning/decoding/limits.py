"""Limits of the length of an output."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from s2s_lightning.decoding.search import Decoding, Lengths, Tools
from s2s_lightning.errors import UserError, check_at_least, check_at_most

USUAL = {"max_length": 500, "max_length_ratio": 2.0, "max_length_offset": 10}
"""The maximum without the lengths of training, and what an option leaves open when another is given."""

ROOM = 2
"""Times the longest target that training had for a source of the length: SCAN's longest test is 2.13 times as long."""


class Limits(NamedTuple):
    """Fewest and most tokens that each sentence may emit, (B,), EOS counted."""

    shortest: Tensor
    longest: Tensor


class LengthLimited(Decoding):
    """A search whose outputs are bounded by the length of their own source, whatever else is in the batch.

    The maximum is a guard against loops. By default it is 2 M(s) + 10 tokens for a source of s, with M(s) the longest
    target of training for a source of up to s tokens, and never below min(2 s + 10, 500); beyond the longest source of
    training, M grows in proportion. Without these lengths (checkpoints from before they were kept, models searched by
    hand) it is min(2 s + 10, 500). An option that is given replaces all of this.

    Lengths are in tokens with EOS counted, on both sides. At its maximum a hypothesis is cut, not closed with an EOS
    that the model did not want: ``finished`` is False, and ``log_prob`` is that of the tokens alone. A minimum above
    the maximum raises it.

    Args:
        max_length: the most tokens of an output; with another maximum alone 500.
        max_length_ratio: the most tokens of an output a source token, ``max_length_offset`` not counted; .inf leaves
            ``max_length`` alone to decide; with another maximum alone 2.
        max_length_offset: tokens that any output may have beyond the ratio, so that short sources are not cut; with
            another maximum alone 10.
        min_length: the fewest tokens of an output.
        min_length_ratio: the fewest tokens of an output a source token.

    Raises:
        UserError: a minimum above a maximum that is given, a negative length or ratio, or no room for a single token.
    """

    def __init__(
        self,
        *,
        max_length: int | None = None,
        max_length_ratio: float | None = None,
        max_length_offset: int | None = None,
        min_length: int = 0,
        min_length_ratio: float = 0.0,
    ) -> None:
        given: dict[str, Any] = {
            "max_length": max_length,
            "max_length_ratio": max_length_ratio,
            "max_length_offset": max_length_offset,
        }
        check_at_least(0, min_length=min_length, min_length_ratio=min_length_ratio, max_length_ratio=max_length_ratio)
        whole = {"max_length": max_length, "max_length_offset": max_length_offset, "min_length": min_length}
        check_at_most(2**31 - 1, **whole, min_length_ratio=min_length_ratio)
        self.follows_training = all(value is None for value in given.values())
        known = {name: USUAL[name] if value is None else value for name, value in given.items()}
        self.max_length = int(known["max_length"])
        self.max_length_ratio = float(known["max_length_ratio"])
        self.max_length_offset = int(known["max_length_offset"])
        if self.max_length < 1 or self.max_length_offset < 1:
            raise UserError(
                f"max_length {self.max_length} and max_length_offset {self.max_length_offset} must leave room for EOS: "
                "at least 1"
            )
        above = min_length > self.max_length or min_length_ratio > self.max_length_ratio
        if above and not self.follows_training:
            raise UserError(
                f"min_length {min_length} (ratio {min_length_ratio}) is above "
                f"max_length {self.max_length} (ratio {self.max_length_ratio}): lower it"
            )
        self.min_length = min_length
        self.min_length_ratio = min_length_ratio
        self._lengths: Lengths | None = None

    def attach(self, tools: Tools) -> None:
        """Take the lengths of training, where the maximum follows them."""
        self._lengths = tools.lengths() if self.follows_training else None

    def limits(self, src_padding: Tensor) -> Limits:
        """Return the limits by the real tokens of each source: src_padding (B, S), True at padding."""
        src_length = (~src_padding).sum(1).double()
        longest = src_length * self.max_length_ratio + self.max_length_offset
        longest = longest.clamp(max=self.max_length).long()
        if self._lengths is not None:
            room = ROOM * longest_targets(self._lengths, src_length) + USUAL["max_length_offset"]
            longest = torch.maximum(longest, room.long())
        shortest = (src_length * self.min_length_ratio).clamp(min=self.min_length).ceil().long()
        return Limits(shortest, torch.maximum(longest, shortest))


def longest_targets(lengths: Lengths, src_length: Tensor) -> Tensor:
    """Return M(s) for sources of s tokens, (B,): of training's targets for sources of up to s tokens the longest."""
    sources = src_length.new_tensor(lengths.src)
    targets = src_length.new_tensor(lengths.tgt)
    place = (torch.searchsorted(sources, src_length, right=True) - 1).clamp(min=0)
    return targets[place] * (src_length / lengths.longest_src).clamp(min=1)
