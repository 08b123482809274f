"""Shallow fusion: a language model has a say in the search.

Shape letters: B rows, T tokens, S source, V vocabulary, V' = V + S where the model copies.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from s2s_lightning import EOS, UNK
from s2s_lightning.decoding.beam import Beam
from s2s_lightning.decoding.search import Decoding, Network, Tools
from s2s_lightning.decoding.wrapper import Around, apart, together
from s2s_lightning.errors import check_at_least
from s2s_lightning.model import Seq2Seq, State, Step


class ShallowFusion(Around):
    """Shallow fusion with a language model (Gulcehre et al., 2015, arXiv:1503.03535).

    Each token is ranked by log p(y_t | y_<t, x) + weight * log p_LM(y_t | y_<t), EOS included. So ``score`` is what the
    search makes of log_prob + weight * log p_LM(y), while ``log_prob`` stays the model's own. A word that is copied
    from the source is UNK to the language model.

    The language model is any network of this framework with the model's target vocabulary; it reads an empty source, as
    ``configs/lm.yaml`` trains it. It goes to the device of the batch.

    Args:
        checkpoint: the language model.
        weight: 0 or more; 0 is the search alone.
        search: what searches; Beam if not given.

    Raises:
        UserError: a negative weight; later, a language model of another target vocabulary.
    """

    def __init__(self, checkpoint: str, *, weight: float = 0.3, search: Decoding | None = None) -> None:
        check_at_least(0, weight=weight)
        super().__init__(search or Beam())
        self.checkpoint = checkpoint
        self.weight = weight
        self._language_model: Seq2Seq | None = None

    def attach(self, tools: Tools) -> None:
        super().attach(tools)
        self._language_model = tools.language_model(self.checkpoint)

    def beside(self, model: Network) -> Network:
        """The model with the say of the language model."""
        assert self._language_model is not None, "attach() must come first: the checkpoint is a name"
        return Fused(model, self._language_model, self.weight) if self.weight else model


class Fused(NamedTuple):
    """A ``Network`` whose steps have the language model's share as their bonus. Its state is a pair of theirs."""

    model: Network
    language_model: Seq2Seq
    weight: float

    def start(self, src: Tensor, src_padding: Tensor, src_copy: Tensor | None = None) -> State:
        """The model reads the source, the language model an empty one; arguments as in ``Network``."""
        nothing = src.new_full((len(src), 1), EOS)
        own = self.model.start(src, src_padding, src_copy)
        other = self.language_model.to(src.device).start(nothing, torch.zeros_like(nothing, dtype=torch.bool))
        return together([own, other])

    def step(self, tokens: Tensor, state: State, need_weights: bool = False) -> Step:
        """The model's step; the language model's share is added to a bonus that it has already."""
        own, other = apart(state)
        step = self.model.step(tokens, own, need_weights)
        known = torch.where(tokens < self.language_model.tgt_vocab_size, tokens, UNK)
        said = self.language_model.step(known, other)
        bonus = self.weight * widened(said.log_probs, step.log_probs.shape[-1])
        return step._replace(
            state=together([step.state, said.state]),
            bonus=bonus if step.bonus is None else step.bonus + bonus,
        )


def widened(log_probs: Tensor, width: int) -> Tensor:
    """(B, T, V) -> (B, T, width): UNK's for what is copied."""
    copied = width - log_probs.shape[-1]
    unknown = log_probs[..., UNK : UNK + 1].expand(*log_probs.shape[:-1], copied)
    return torch.cat([log_probs, unknown], -1) if copied else log_probs
