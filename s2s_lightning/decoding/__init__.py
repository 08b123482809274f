"""Search: pure torch, knows the contract alone."""

from s2s_lightning.decoding.beam import Beam
from s2s_lightning.decoding.constrained_beam import ConstrainedBeam
from s2s_lightning.decoding.constraints import phrases_of
from s2s_lightning.decoding.diverse_beam import DiverseBeam
from s2s_lightning.decoding.ensemble import Ensemble
from s2s_lightning.decoding.greedy import Greedy
from s2s_lightning.decoding.length_penalty import GNMT, Average, LengthPenalty, NoPenalty, Power
from s2s_lightning.decoding.mbr import MBR
from s2s_lightning.decoding.sampling import Sampling
from s2s_lightning.decoding.search import Decoding, Demands, Hypothesis, Network, Phrase, Tools
from s2s_lightning.decoding.shallow_fusion import ShallowFusion
from s2s_lightning.decoding.utility import ChrF, Utility

__all__ = [
    "GNMT",
    "MBR",
    "Average",
    "Beam",
    "ChrF",
    "ConstrainedBeam",
    "Decoding",
    "Demands",
    "DiverseBeam",
    "Ensemble",
    "Greedy",
    "Hypothesis",
    "LengthPenalty",
    "Network",
    "NoPenalty",
    "Phrase",
    "Power",
    "Sampling",
    "ShallowFusion",
    "Tools",
    "Utility",
    "phrases_of",
]
