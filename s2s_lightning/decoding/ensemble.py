"""Several networks that search as one.

Shape letters: B rows, T tokens, S source, V vocabulary (V + S where all members copy), M members.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from s2s_lightning.decoding.beam import Beam
from s2s_lightning.decoding.search import Decoding, Demands, Hypothesis, Network, Tools
from s2s_lightning.decoding.wrapper import Around, apart, together
from s2s_lightning.errors import UserError
from s2s_lightning.model import Seq2Seq, State, Step

AverageOf = Literal["linear", "log"]

ALL_OR_NONE = "all members of an ensemble must copy, or none"


class Ensemble(Around):
    """Searches with the model and the networks of further checkpoints together, of any families.

    At each step all members read the same tokens, and their predictions are averaged:

    linear: p(y_t) = sum_m w_m p_m(y_t)
    log: p(y_t) proportional to prod_m p_m(y_t)^w_m

    ``log_prob`` is that of the average. The members must have the model's vocabularies; the networks go to the device
    of the batch. Attention is the mean over each member's layers and heads, then over the members that have it.

    Args:
        checkpoints: the other members.
        search: what searches with them; Beam if not given.
        average: "linear" of probabilities, or "log" of their logarithms, normalised again.
        weights: of the model and then of each checkpoint; equal if not given. Their sum does not matter.

    Raises:
        UserError: no checkpoint, or weights that are not above 0 or not one for each member; later, a member of other
            vocabularies, or members of which some copy and some do not.
    """

    def __init__(
        self,
        checkpoints: list[str],
        *,
        search: Decoding | None = None,
        average: AverageOf = "linear",
        weights: list[float] | None = None,
    ) -> None:
        if not checkpoints:
            raise UserError("checkpoints=[]: an ensemble needs one checkpoint at least beside the model")
        if weights is not None and len(weights) != len(checkpoints) + 1:
            raise UserError(
                f"weights={weights}: there must be {len(checkpoints) + 1}, the model's and one for each checkpoint"
            )
        if weights is not None and not all(0 < weight < math.inf for weight in weights):
            raise UserError(f"weights={weights}: each must be above 0; leave a checkpoint out to give it no weight")
        super().__init__(search or Beam())
        self.checkpoints = checkpoints
        self.average = average
        self.weights = weights or [1.0] * (len(checkpoints) + 1)
        self._others: list[Seq2Seq] = []

    def attach(self, tools: Tools) -> None:
        super().attach(tools)
        self._others = [tools.network(path) for path in self.checkpoints]

    def beside(self, model: Network) -> "Members":
        """The model and the others as one network."""
        assert self._others, "attach() must come first: checkpoints are names"
        total = sum(self.weights)
        weights = [weight / total for weight in self.weights]
        return Members([model, *self._others], weights, self.average, names=["the model", *self.checkpoints])

    def __call__(
        self,
        model: Network,
        src: Tensor,
        src_padding: Tensor,
        src_copy: Tensor | None = None,
        demands: Demands = Demands(),
    ) -> list[list[Hypothesis]]:
        for path, other in zip(self.checkpoints, self._others, strict=True):
            if src_copy is not None and not other.readout.needs_attention:
                raise UserError(f"{path} copies no words of the source, as data.copy=true asks: {ALL_OR_NONE}")
        return super().__call__(model, src, src_padding, src_copy, demands)


class Members(NamedTuple):
    """A ``Network`` of M networks. Its state holds a tuple of their contexts and one of their carries.

    Attributes:
        networks: the members.
        weights: of each; they sum to 1.
        average: how their predictions become one.
        names: of each, for messages.
    """

    networks: Sequence[Network]
    weights: Sequence[float]
    average: AverageOf
    names: Sequence[str]

    def start(self, src: Tensor, src_padding: Tensor, src_copy: Tensor | None = None) -> State:
        """The states of all members after reading the source; arguments as in ``Network``."""
        for network in self.networks:
            if isinstance(network, nn.Module):
                network.to(src.device)
        return together(network.start(src, src_padding, src_copy) for network in self.networks)

    def step(self, tokens: Tensor, state: State, need_weights: bool = False) -> Step:
        """One step of all members; a bonus is the sum of theirs."""
        pairs = zip(self.networks, apart(state), strict=True)
        steps = [network.step(tokens, own, need_weights) for network, own in pairs]
        self._refuse_unequal([step.log_probs.shape[-1] for step in steps])
        log_probs = averaged([step.log_probs for step in steps], self.weights, self.average)
        bonuses = [step.bonus for step in steps if step.bonus is not None]
        bonus = torch.stack(bonuses).sum(0) if bonuses else None
        return Step(log_probs, together(step.state for step in steps), attention_of(steps), bonus)

    def _refuse_unequal(self, widths: list[int]) -> None:
        for width, name in zip(widths, self.names, strict=True):
            if width != widths[0]:
                raise UserError(
                    f"{self.names[0]} predicts {widths[0]} ids and {name} {width}, copied words included: {ALL_OR_NONE}"
                )


def averaged(log_probs: Sequence[Tensor], weights: Sequence[float], average: AverageOf) -> Tensor:
    """The logarithm of the average of M distributions (B, T, V), of which weights that sum to 1 are given."""
    stacked = torch.stack(tuple(log_probs))
    weight = stacked.new_tensor(weights).view(-1, 1, 1, 1)
    if average == "linear":
        return (stacked + weight.log()).logsumexp(0)
    return (stacked * weight).sum(0).log_softmax(-1)


def attention_of(steps: Sequence[Step]) -> Tensor | None:
    """(B, 1, 1, T, S), the mean over the members that have attention, whatever their layers and heads."""
    means = [step.attention.mean((1, 2), keepdim=True) for step in steps if step.attention is not None]
    return torch.stack(means).mean(0) if means else None
