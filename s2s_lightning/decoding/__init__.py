"""Search: pure torch, knows the contract alone."""

from s2s_lightning.decoding.base import Decoding, Demands, Hypothesis, Network, Tools
from s2s_lightning.decoding.beam import Beam
from s2s_lightning.decoding.diverse_beam import DiverseBeam
from s2s_lightning.decoding.greedy import Greedy
from s2s_lightning.decoding.length_penalty import GNMT, Average, LengthPenalty, NoPenalty, Power
from s2s_lightning.decoding.mbr import MBR
from s2s_lightning.decoding.sampling import Sampling
from s2s_lightning.decoding.utility import ChrF, Utility

__all__ = [
    "GNMT",
    "MBR",
    "Average",
    "Beam",
    "ChrF",
    "Decoding",
    "Demands",
    "DiverseBeam",
    "Greedy",
    "Hypothesis",
    "LengthPenalty",
    "Network",
    "NoPenalty",
    "Power",
    "Sampling",
    "Tools",
    "Utility",
]
