"""Wider searches, for lists that must hold enough different texts."""

from copy import copy

from s2s_lightning.decoding.beam import Beam
from s2s_lightning.decoding.mbr import MBR
from s2s_lightning.decoding.search import Decoding
from s2s_lightning.decoding.wrapper import Around

FACTORS = (2, 4, 8)
"""Times the width that was asked for, one after the other."""


def widened(search: Decoding, factor: int) -> Decoding | None:
    """Copy a beam search, or one around it, to one of ``factor`` times the width that returns as many times more.

    ``MBR`` returns more of what it has ranked. None for any other search: samples stay as they are drawn.
    """
    wider = copy(search)
    if isinstance(wider, Beam):
        wider.beam_size *= factor
        wider.n_best *= factor
        wider.enough *= factor
    elif isinstance(wider, Around) and not isinstance(wider, MBR):
        inner = widened(wider.search, factor)
        if inner is None:
            return None
        wider.search = inner
    elif not isinstance(wider, MBR):
        return None
    wider.num_outputs *= factor
    return wider
