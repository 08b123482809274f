"""Configurations and sweeps that the package ships, found by name from any folder."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

HOMES = (Path(__file__).parents[1], Path(__file__).parents[2])
"""Folders that may hold ``configs/`` and ``sweeps/``: those of an installed package, and of a checkout."""

Kind = Literal["configs", "sweeps"]

MARK: dict[Kind, str] = {"configs": "transformer.yaml", "sweeps": "lr.yaml"}
"""A file by which a folder is known to be one of ours: beside an installed package any folder may lie."""


def folders(kind: Kind) -> Iterator[Path]:
    """Yield the folders with shipped files of a kind."""
    return (home / kind for home in HOMES if (home / kind / MARK[kind]).is_file())


def shipped(name: str, kind: Kind) -> str:
    """Return the path of a file of the user, else of the shipped file of that name, else the name.

    Args:
        name: a path, which wins if it exists; or the name of a shipped file, such as ``transformer``,
            ``data/multi30k.yaml`` or ``configs/transformer.yaml``.
        kind: what is looked for.
    """
    try:
        if not name or Path(name).exists() or "\n" in name or ".." in Path(name).parts or Path(name).is_absolute():
            return name
        short = Path(name.removeprefix(f"{kind}/")).with_suffix(".yaml")
        return next((str(each / short) for each in folders(kind) if (each / short).is_file()), name)
    except (OSError, ValueError):  # no name of a file: YAML in the place of one
        return name


def names(kind: Kind) -> list[str]:
    """Return the names of the shipped files of a kind, sorted."""
    found = {str(path.relative_to(home).with_suffix("")) for home in folders(kind) for path in home.rglob("*.yaml")}
    return sorted(found)
