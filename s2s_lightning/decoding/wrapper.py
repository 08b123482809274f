"""Searches that hand another search something else to work on, or make something else of what it finds."""

from collections.abc import Iterable

from torch import Tensor

from s2s_lightning.decoding.search import Decoding, Demands, Hypothesis, Network, Tools
from s2s_lightning.model import State


class Around(Decoding):
    """A search around another one.

    Args:
        search: the other.
    """

    def __init__(self, search: Decoding) -> None:
        self.search = search
        self.heeds_phrases = search.heeds_phrases
        self.num_outputs = search.num_outputs

    def attach(self, tools: Tools) -> None:
        self.search.attach(tools)

    def beside(self, model: Network) -> Network:
        """Return the network of the inner search."""
        return model

    def chosen(self, found: list[Hypothesis]) -> list[Hypothesis]:
        """Choose among the hypotheses of a sentence."""
        return found

    def network(self, model: Network) -> Network:
        return self.search.network(self.beside(model))

    def __call__(
        self,
        model: Network,
        src: Tensor,
        src_padding: Tensor,
        src_copy: Tensor | None = None,
        demands: Demands = Demands(),
    ) -> list[list[Hypothesis]]:
        found = self.search(self.beside(model), src, src_padding, src_copy, demands)
        return [self.chosen(hypotheses) for hypotheses in found]


def together(states: Iterable[State]) -> State:
    """The states of several networks as one: tuples of their contexts and of their carries."""
    return State(*zip(*states, strict=True))


def apart(state: State) -> list[State]:
    """The states of which ``together`` made one."""
    return [State(*parts) for parts in zip(state.context, state.carry, strict=True)]
