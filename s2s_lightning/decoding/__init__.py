"""Search: pure torch, knows the contract alone."""

from s2s_lightning.decoding.base import Decoding, Hypothesis
from s2s_lightning.decoding.beam import Beam
from s2s_lightning.decoding.greedy import Greedy

__all__ = ["Beam", "Decoding", "Greedy", "Hypothesis"]
