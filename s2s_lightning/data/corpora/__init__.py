"""Corpora: sources of pairs of text."""

from s2s_lightning.data.corpora.cmudict import CMUDict
from s2s_lightning.data.corpora.corpus import SPLITS, Corpus, Pair, Split, pairs
from s2s_lightning.data.corpora.generated import Generated
from s2s_lightning.data.corpora.hub import Hub, Saved
from s2s_lightning.data.corpora.table import Table
from s2s_lightning.data.corpora.target_side import TargetSide
from s2s_lightning.data.corpora.text_files import TextFiles

__all__ = [
    "SPLITS",
    "CMUDict",
    "Corpus",
    "Generated",
    "Hub",
    "Pair",
    "Saved",
    "Split",
    "Table",
    "TargetSide",
    "TextFiles",
    "pairs",
]
