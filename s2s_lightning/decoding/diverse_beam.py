"""Diverse beam search.

Shape letters: B sentences still searched, G groups of each, R = B * G rows of the beam search below, W live hypotheses
of a group, V vocabulary.
"""

from typing import Any

import torch
from torch import Tensor

from s2s_lightning.decoding.beam import Beam, Going, Scores, Sentences
from s2s_lightning.decoding.search import Demands, Hypothesis, Network
from s2s_lightning.errors import UserError, check_at_least
from s2s_lightning.model import State, Step, repeat


class DiverseBeam(Beam):
    """Beams of unlike words (diverse beam search; Vijayakumar et al., 2018, arXiv:1610.02424), Hamming diversity.

    The beam is shared out among groups. At each step they choose one after the other, each as ``Beam`` does, but by
    total - diversity_strength * c: c hypotheses of the groups before it have just chosen this word. The term is
    part of this choice alone; ``score`` does not know of it, nor do later steps (the authors' code carries it along).
    EOS is neither counted nor penalised.

    All groups take one step of the model together. A sentence is over when none of its groups can better what it has.
    An output that several groups found is returned once.

    Args:
        beam_size: live hypotheses of a sentence in all.
        num_groups: groups that share them out equally; 1 is ``Beam``.
        diversity_strength: 0 makes each group a ``Beam`` of its width, all alike.
        n_best: hypotheses returned for a sentence at most, the best of all groups; at most ``beam_size``.

    Raises:
        UserError: groups that cannot be of equal size, n_best not between 1 and beam_size, or a negative strength.
    """

    def __init__(
        self,
        beam_size: int = 6,
        *,
        num_groups: int = 3,
        diversity_strength: float = 0.5,
        n_best: int = 1,
        **settings: Any,
    ) -> None:
        check_at_least(1, num_groups=num_groups)
        check_at_least(0, diversity_strength=diversity_strength)
        if beam_size % num_groups:
            raise UserError(f"beam_size {beam_size} must be a multiple of num_groups {num_groups}: they are alike")
        if not 1 <= n_best <= beam_size:
            raise UserError(f"n_best {n_best} must be from 1 to beam_size {beam_size}: lower it or widen the beam")
        width = beam_size // num_groups
        super().__init__(width, n_best=min(n_best, width), **settings)
        self.num_groups = num_groups
        self.diversity_strength = diversity_strength
        self.num_outputs = n_best

    def __call__(
        self,
        model: Network,
        src: Tensor,
        src_padding: Tensor,
        src_copy: Tensor | None = None,
        demands: Demands = Demands(),
    ) -> list[list[Hypothesis]]:
        prefix = None if demands.prefix is None else self._of_groups(demands.prefix)
        copy = None if src_copy is None else self._of_groups(src_copy)
        source = (self._of_groups(src), self._of_groups(src_padding), copy)
        found = super().__call__(_ReadOnce(model, self.num_groups), *source, Demands(prefix))
        groups = [found[start : start + self.num_groups] for start in range(0, len(found), self.num_groups)]
        return [_distinct(beams)[: self.num_outputs] for beams in groups]

    def _of_groups(self, x: Tensor) -> Tensor:
        """(B, ...) -> (R, ...)."""
        return x.repeat_interleave(self.num_groups, 0)

    def _expand(self, sentences: Sentences, scores: Scores) -> Going:
        """Group after group, all sentences at once."""
        total = sentences.total.view(-1, self.num_groups, sentences.total.shape[1])  # (B, G, W)
        ruled = scores.ruled.view(-1, self.num_groups, *scores.ruled.shape[1:])  # (B, G, W, V)
        said = torch.zeros_like(ruled[:, 0, 0])  # (B, V)
        groups = []
        for group in range(self.num_groups):
            unlike = ruled[:, group] - self.diversity_strength * said.unsqueeze(1)
            chosen = super()._expand(sentences._replace(total=total[:, group]), scores._replace(ruled=unlike))
            going = _by_total(chosen, total[:, group], ruled[:, group])
            said.scatter_add_(1, going.token, (going.total > -torch.inf).to(said.dtype))  # the dead say nothing
            groups.append(going)
        return Going(*(torch.stack(parts, 1).flatten(0, 1) for parts in zip(*groups, strict=True)))

    def _over(self, sentences: Sentences) -> Tensor:
        """(R,) The groups of a sentence leave together: those before steer those after them."""
        return self._of_groups(super()._over(sentences).view(-1, self.num_groups).all(1))


class _ReadOnce:
    """A network that is given each source several times in a row, and reads it once."""

    def __init__(self, model: Network, times: int) -> None:
        self.model = model
        self.times = times

    def start(self, src: Tensor, src_padding: Tensor, src_copy: Tensor | None = None) -> State:
        copy = None if src_copy is None else src_copy[:: self.times]
        return repeat(self.model.start(src[:: self.times], src_padding[:: self.times], copy), self.times)

    def step(self, tokens: Tensor, state: State, need_weights: bool = False) -> Step:
        return self.model.step(tokens, state, need_weights)


def _by_total(chosen: Going, total: Tensor, ruled: Tensor) -> Going:
    """Sort the choice of a group without the diversity term, best first; total (B, W) before it, ruled (B, W, V)."""
    index = chosen.parent * ruled.shape[-1] + chosen.token
    new = (total.gather(1, chosen.parent) + ruled.flatten(1).gather(1, index)).sort(descending=True, stable=True)
    parent, token = (x.gather(1, new.indices) for x in (chosen.parent, chosen.token))
    return chosen._replace(parent=parent, token=token, total=new.values)


def _distinct(groups: list[list[Hypothesis]]) -> list[Hypothesis]:
    """Return the distinct hypotheses of the groups of a sentence, best first."""
    found: dict[tuple[int, ...], Hypothesis] = {}
    for hypothesis in (h for group in groups for h in group):
        found.setdefault((*hypothesis.tokens, hypothesis.finished), hypothesis)
    return sorted(found.values(), key=lambda h: -h.score)
