"""The search that arguments of a command line make of a stored one."""

from collections.abc import Sequence
from typing import Any

import s2s_lightning.utilities  # noqa: F401  a class has a short name once it is imported
from s2s_lightning import PROGRAM
from s2s_lightning.decoding import Decoding
from s2s_lightning.parser import Parser

GREEDY = {"class_path": "s2s_lightning.decoding.Greedy"}


def parse_search(args: Sequence[str], stored: dict[str, Any] | None = None) -> Decoding:
    """The search that the arguments make of the stored one, greedy if there is none."""
    parser = Parser(prog=f"{PROGRAM} generate")
    parser.add_argument("--decoding", type=Decoding, help="the search")
    base = parser.parse_object({"decoding": stored or GREEDY}, defaults=False)
    decoding: Decoding = parser.instantiate(parser.parse_args(list(args), namespace=base)).decoding
    return decoding
