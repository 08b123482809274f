"""Search: pure torch, knows the contract alone."""

from s2s_lightning.decoding.base import Decoding, Demands, Hypothesis, Network, Tools
from s2s_lightning.decoding.beam import Beam
from s2s_lightning.decoding.greedy import Greedy
from s2s_lightning.decoding.length_penalty import GNMT, Average, LengthPenalty, NoPenalty, Power
from s2s_lightning.decoding.sampling import Sampling

__all__ = [
    "GNMT",
    "Average",
    "Beam",
    "Decoding",
    "Demands",
    "Greedy",
    "Hypothesis",
    "LengthPenalty",
    "Network",
    "NoPenalty",
    "Power",
    "Sampling",
    "Tools",
]
