"""Searches that hand another search something else to work on, or make something else of what it finds."""

from s2s_lightning.decoding.base import Decoding, Network, Tools


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
        """What the inner search works on."""
        return model

    def network(self, model: Network) -> Network:
        return self.search.network(self.beside(model))
