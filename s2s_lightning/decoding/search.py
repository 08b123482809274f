"""Interface of a search: its input and its output."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from torch import Tensor

from s2s_lightning.model import Seq2Seq, State, Step


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


class Network(Protocol):
    """Model as a search sees it: a ``Seq2Seq``, or several that act as one."""

    def start(self, src: Tensor, src_padding: Tensor, src_copy: Tensor | None = None) -> State:
        """Read the source: (B, S) each, as in ``Batch``."""

    def step(self, tokens: Tensor, state: State, need_weights: bool = False) -> Step:
        """Log-probabilities (B, T, V) of what follows each of tokens (B, T)."""


Phrase = Sequence[Sequence[int]]
"""Sequences of target ids, the ways to write a phrase: at the beginning of a text and after a space, say."""


class Demands(NamedTuple):
    """Demands on the outputs of each of B sentences, beyond the settings of the search.

    Attributes:
        prefix: (B, P) target ids that the output begins with, PAD after them, without BOS.
        phrases: for each sentence the phrases that its outputs must contain, each in one of its ways.
    """

    prefix: Tensor | None = None
    phrases: Sequence[Sequence[Phrase]] | None = None


class Lengths(NamedTuple):
    """The longest targets of training by the length of their sources, in tokens with EOS counted.

    Attributes:
        src: lengths of sources, ascending, at which the longest target of all shorter ones is surpassed.
        tgt: the longest target of sources of up to that length.
        longest_src: the longest source of training.
    """

    src: tuple[int, ...]
    tgt: tuple[int, ...]
    longest_src: int


def no_lengths() -> Lengths | None:
    """Return None: the training is not known."""
    return None


class Tools(NamedTuple):
    """Functions that a search may need beyond ids, given by the text layer.

    Attributes:
        network: the network of a checkpoint whose vocabularies are those of the model; refuses any other.
        language_model: the network of a checkpoint whose target vocabulary is that of the model; its source is empty.
        encode: a target text to the id sequences it may have within an output, at its beginning and after a space.
        decode: target ids to text.
        lengths: gives the lengths of training, None where they are not known.
    """

    network: Callable[[str], Seq2Seq]
    language_model: Callable[[str], Seq2Seq]
    encode: Callable[[str], list[list[int]]]
    decode: Callable[[list[int]], str]
    lengths: Callable[[], Lengths | None] = no_lengths


class Decoding(ABC):
    """A search. Its settings are constructor arguments; PAD and BOS are never emitted."""

    heeds_phrases = False
    """Whether its outputs contain ``Demands.phrases``; who has phrases refuses a search that would ignore them."""

    num_outputs = 1
    """The most hypotheses that it returns of a sentence."""

    @abstractmethod
    def __call__(
        self,
        model: Network,
        src: Tensor,
        src_padding: Tensor,
        src_copy: Tensor | None = None,
        demands: Demands = Demands(),
    ) -> list[list[Hypothesis]]:
        """The n best of each sentence, best first, for src, src_padding and src_copy (B, S) as in ``Batch``."""

    def attach(self, tools: Tools) -> None:  # noqa: B027  most need none
        """Called once before the search is used, for settings that are text or other checkpoints."""

    def network(self, model: Network) -> Network:
        """Return the network that is asked for log-probabilities: ``log_prob`` is that of force-decoding through it."""
        return model
