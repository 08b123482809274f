"""Constraints: phrases that outputs must contain, how much of them is written, and which tokens would write more.

Shape letters: R sentences still searched, N outputs of each (live hypotheses, or candidates), t tokens of each so far,
BOS the first, C phrases of a sentence, A ways to write a phrase, P tokens of the longest, PAD where there are fewer.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from s2s_lightning import PAD
from s2s_lightning.decoding.search import Phrase, Tools
from s2s_lightning.errors import UserError

Ways = tuple[tuple[int, ...], ...]
"""The ways to write a phrase, without empty ones, each once."""


class Phrases(NamedTuple):
    """The phrases of each sentence, and what the hypotheses have said of them.

    A phrase is said wherever the output ends in one of its ways, so that occurrences may overlap.

    Attributes:
        ways: (R, C, A, P), PAD after each.
        times: (R, C), how often the output must say the phrase; 0 for what pads C.
        said: (R, N, C), how often it did.
    """

    ways: Tensor
    times: Tensor
    said: Tensor

    @classmethod
    def of(cls, phrases: Sequence[Sequence[Phrase]], device: torch.device) -> "Phrases":
        """Return the phrases of one empty hypothesis of each sentence. A phrase that stands there twice must be written
        twice.
        """
        counts = [Counter(filter(None, map(_ways, of_sentence))) for of_sentence in phrases]
        every = [ways for count in counts for ways in count]
        shape = (
            len(counts),
            max(1, *map(len, counts)),
            max(map(len, every), default=1),
            max((len(way) for ways in every for way in ways), default=1),
        )
        ids, times = torch.full(shape, PAD), torch.zeros(shape[:2], dtype=torch.long)
        for row, count in enumerate(counts):
            for column, (ways, number) in enumerate(count.items()):
                times[row, column] = number
                for place, way in enumerate(ways):
                    ids[row, column, place, : len(way)] = torch.tensor(way)
        said = torch.zeros_like(times).unsqueeze(1)
        return cls(*(x.to(device) for x in (ids, times, said)))

    @property
    def lengths(self) -> Tensor:
        """(R, C, A) tokens of each way."""
        return (self.ways != PAD).sum(-1)

    @property
    def complete(self) -> Tensor:
        """(R, N) True where all phrases are said."""
        return (self.said >= self.times.unsqueeze(1)).all(-1)

    def room(self) -> Tensor:
        """(R,) tokens of all phrases one after another, each in its longest way."""
        return (self.lengths.amax(-1) * self.times).sum(-1)

    def wanted(self, tokens: Tensor) -> Tensor:
        """(R, N, C * A) the token that goes on with each way of what tokens (R, N, t) lack, PAD where none does."""
        ways = self.ways.unsqueeze(1).expand(-1, tokens.shape[1], -1, -1, -1)
        following = ways.gather(-1, self._begun(self._end(tokens)).unsqueeze(-1)).squeeze(-1)
        lacks = self.said < self.times.unsqueeze(1)
        return following.masked_fill(~lacks.unsqueeze(-1), PAD).flatten(2)

    def follow(self, parent: Tensor, tokens: Tensor) -> "Phrases":
        """Return the phrases of the outputs tokens (R, N', t), which are one token longer than those of ``parent`` (R,
        N').
        """
        said = self.said.gather(1, parent.unsqueeze(-1).expand(-1, -1, self.said.shape[-1]))
        return self._replace(said=said + self._ends(self._end(tokens)))

    def missing(self, tokens: Tensor) -> Tensor:
        """(R, N) tokens that must follow tokens (R, N, t) at least, if no phrases overlap."""
        lengths = self.lengths.unsqueeze(1).masked_fill(self.lengths.unsqueeze(1) == 0, LONG)
        to_go = (lengths - self._begun(self._end(tokens))).amin(-1)
        lacks = (self.times.unsqueeze(1) - self.said).clamp(min=0)
        return torch.where(lacks > 0, to_go + (lacks - 1) * lengths.amin(-1), 0).sum(-1)

    def _end(self, tokens: Tensor) -> Tensor:
        """(R, N, 1, 1, P) the last tokens of each output, to be compared with the ways."""
        width = self.ways.shape[-1]
        return pad(tokens, (max(0, width - tokens.shape[-1]), 0), value=PAD)[..., -width:, None, None].movedim(2, -1)

    def _ends(self, end: Tensor) -> Tensor:
        """(R, N, C) True where an output ends in a phrase."""
        width = self.ways.shape[-1]
        place = torch.arange(width, device=end.device) + self.lengths.unsqueeze(-1)
        flush = self.ways.gather(-1, place % width).unsqueeze(1)  # the ways, PAD before each
        return (((flush == end) | (flush == PAD)).all(-1) & (self.lengths > 0).unsqueeze(1)).any(-1)

    def _begun(self, end: Tensor) -> Tensor:
        """(R, N, C, A) the tokens of each way, but not all of them, that an output ends in."""
        begun = torch.zeros(end.shape[:2] + self.ways.shape[1:3], dtype=torch.long, device=end.device)
        for k in range(1, self.ways.shape[-1]):
            begins = (end[..., -k:] == self.ways[:, None, ..., :k]).all(-1) & (k < self.lengths).unsqueeze(1)
            begun = torch.where(begins, k, begun)
        return begun


LONG = 1 << 30
"""Tokens of a way that there is not."""


def _ways(phrase: Phrase) -> Ways:
    return tuple(dict.fromkeys(tuple(way) for way in phrase if way))


def phrases_of(texts: Sequence[Sequence[str]], tools: Tools) -> list[list[Phrase]]:
    """The phrases of each sentence, from their texts.

    Raises:
        UserError: the vocabulary cannot say a text.
    """
    return [[_phrase(text, tools) for text in of_sentence] for of_sentence in texts]


def _phrase(text: str, tools: Tools) -> Phrase:
    phrase = tools.encode(text)
    if not phrase:
        raise UserError(f"no output can contain {text!r}: the target vocabulary has not all of it; leave it out")
    return phrase
