"""The laws that every variant without a file in configs/ is held to."""

from s2s_lightning.testing import LAWS as ALL
from s2s_lightning.testing import Law


def named(*names: str) -> list[Law]:
    """Return the laws of these names."""
    laws = {law.name: law for law in ALL}
    return [laws[name] for name in names]


BASIC = named("reordering", "padding", "company", "causality to the bit")
"""Pieces make the whole, and after reordering; padding and other sentences change nothing; causality."""

LAWS = [*BASIC, *named("gradients", "attention")]
