"""Probabilities of given outputs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from s2s_lightning import PAD, UNK
from s2s_lightning.data import Seq2SeqData
from s2s_lightning.decoding.force_decode import force
from s2s_lightning.errors import UserError
from s2s_lightning.model import Batch, tree_map
from s2s_lightning.training.module import Seq2SeqModule


class Scored(NamedTuple):
    """One target, given its source.

    Attributes:
        tokens: its pieces as they are printed, EOS last.
        log_probs: of each, in nats.
        unknown: how many of them the vocabulary has not; what is scored there is <unk>.
    """

    tokens: list[str]
    log_probs: list[float]
    unknown: int

    @property
    def log_prob(self) -> float:
        """Return the log-probability of the whole target, EOS included, as a search has it for a finished output."""
        return math.fsum(self.log_probs)

    @property
    def average(self) -> float:
        """Return the mean of a token."""
        return self.log_prob / len(self.tokens)


@torch.inference_mode()
def score(module: Seq2SeqModule, data: Seq2SeqData, sources: Sequence[str], targets: Sequence[str]) -> list[Scored]:
    """Force-decode each target behind its source, in batches of like length; the result is in their order.

    Raises:
        UserError: there are not as many of one as of the other.
    """
    if len(sources) != len(targets):
        raise UserError(f"{len(sources)} sources and {len(targets)} targets: give one target for each source")
    found: dict[int, Scored] = {}
    for batch in data.encode_pairs(sources, targets):
        on_device: Batch = tree_map(lambda x: x.to(module.device), batch)
        log_probs = force(module.model, on_device).log_probs.tolist()
        lengths = (batch.tgt_out != PAD).sum(1).tolist()
        for row, ids, values, length in zip(
            batch.rows.tolist(), batch.tgt_out.tolist(), log_probs, lengths, strict=True
        ):
            tokens = data.tgt_tokens(ids[:length], sources[row])
            found[row] = Scored(tokens, values[:length], ids.count(UNK))
    return [found[row] for row in range(len(sources))]


@dataclass
class Total:
    """The sum over a corpus.

    Words stand between white space, bytes are those of UTF-8; the end of a text counts as one more of each, as the line
    break does in its file, because the model must predict it too. Both depend on the text alone: models with different
    tokenizers compare by them, as far as none has unknown words.
    """

    pairs: int = 0
    log_prob: float = 0.0
    tokens: int = 0
    words: int = 0
    bytes: int = 0
    unknown: int = 0

    def add(self, target: str, scored: Scored) -> None:
        """One more target."""
        self.pairs += 1
        self.log_prob += scored.log_prob
        self.tokens += len(scored.tokens)
        self.words += len(target.split()) + 1
        self.bytes += len(target.encode()) + 1
        self.unknown += scored.unknown

    def perplexity(self, units: int) -> float:
        """exp(-log_prob / units), infinite where that is beyond a float."""
        nats = -self.log_prob / units
        return math.inf if nats > 709 else math.exp(nats)

    def rows(self) -> list[tuple[str, str]]:
        """Name and value of what one wants to see in the end, of one pair at least."""
        units = {"token": self.tokens, "word": self.words, "byte": self.bytes}
        return [
            ("pairs", f"{self.pairs:,}"),
            ("tokens", f"{self.tokens:,}, {self.unknown:,} of them unknown"),
            ("log-probability", f"{self.log_prob:,.4f}"),
            *((f"perplexity per {unit}", f"{self.perplexity(count):.4f}") for unit, count in units.items()),
        ]
