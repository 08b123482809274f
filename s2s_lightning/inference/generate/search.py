"""The search that arguments of a command line make of a stored one."""

from collections.abc import Sequence
from typing import Any

from jsonargparse import Namespace

import s2s_lightning.evaluation.mbr_utilities  # noqa: F401  a class has a short name once it is imported
from s2s_lightning import PROGRAM
from s2s_lightning.config.parser import Parser
from s2s_lightning.decoding import Decoding
from s2s_lightning.trust.guard import known_names_alone
from s2s_lightning.trust.names import mentioned

GREEDY = {"class_path": "s2s_lightning.decoding.Greedy"}


def parse_search(args: Sequence[str], stored: dict[str, Any] | None = None, n_best: int | None = None) -> Decoding:
    """The search that the arguments make of the stored one, greedy if there is none.

    Args:
        args: of the command line.
        stored: the configuration of a search.
        n_best: how many outputs of a sentence it is to return, for the search that returns them.
    """
    parser = Parser(prog=f"{PROGRAM} generate")
    parser.add_argument("--decoding", type=Decoding, help="the search")
    with known_names_alone(mentioned(list(args))):
        base = parser.parse_object({"decoding": stored or GREEDY}, defaults=False)
        parsed = parser.parse_args(list(args), namespace=base)
        if n_best is not None:
            parsed = parser.parse_args(returning(n_best, parsed.decoding), namespace=parsed)
        decoding: Decoding = parser.instantiate(parsed).decoding
    return decoding


def returning(n_best: int, search: Namespace, key: str = "decoding") -> list[str]:
    """The arguments that make a search return so many outputs: those of an inner one, if it only hands them on."""
    settings: Any = search.get("init_args", {})
    if "n_best" in settings or "search" not in settings:
        return [f"--{key}.n_best={n_best}"]
    inner = f"{key}.search"
    if settings.search is None:  # then it is a beam
        return [f"--{inner}=Beam", f"--{inner}.n_best={n_best}"]
    return returning(n_best, settings.search, inner)
