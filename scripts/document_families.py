"""Write ``docs/models/families.md`` from the docstrings of the families, so that it cannot drift.

    python scripts/document_families.py

The class that a file of ``configs/`` names has a ``Card:`` in its docstring: the ``COLUMNS`` and the ``PARTS`` below,
a ``name: text`` each. A part's text is the closed formula of its parameters; the tests count after it.
"""

import inspect
import re
from collections.abc import Iterable
from pathlib import Path
from pydoc import locate
from textwrap import dedent
from typing import Any, NamedTuple

import yaml

DOCUMENT = Path("docs/models/families.md")
COLUMNS = ("year", "idea", "equation", "training", "decoding", "use", "paper")
PARTS = ("embeddings", "encoder", "decoder")
LETTERS = {
    "E": "d_embedding",
    "D": "d_model",
    "F": "d_ff",
    "A": "d_score",
    "M": "d_maxout",
    "K": "kernel_size",
    "P": "max_positions",
    "N": "num_encoder_layers",
    "L": "num_decoder_layers",
    "R": "num_layers",
    "H": "num_heads",
    "C": "d_value",
    "X": "expand",
    "W": "d_head",
    "Z": "d_state",
    "Y": "d_key",
    "J": "num_groups",
    "G": "num_kv_heads",
}
"""Letter -> the option whose value it stands for. U and V are the sizes of the vocabularies."""


INTRODUCTION = """\
# The families

Written by `scripts/document_families.py` from the docstrings of `s2s_lightning/families/`, the oldest first. Each is
one file there and one in `configs/`; the docstrings give shapes, sources and departures from the papers.
"""


class Family(NamedTuple):
    """A configuration, the class that it names, and what the class says of itself."""

    config: Path
    owner: type
    card: dict[str, str]


def families() -> list[Family]:
    """All of ``configs/``, the oldest first."""
    found = [family(config) for config in sorted(Path("configs").glob("*.yaml"))]
    return sorted(found, key=lambda item: (item.card["year"], item.config.stem))


def family(config: Path) -> Family:
    """Raises ValueError when the card of its class lacks something, or has something else."""
    path = yaml.safe_load(config.read_text())["model"]["class_path"]
    owner: Any = locate(path)
    entries = card(inspect.getdoc(owner) or "")
    if set(entries) != {*COLUMNS, *PARTS}:
        raise ValueError(f"the Card of {path} has {sorted(entries)}, but needs {sorted({*COLUMNS, *PARTS})}")
    return Family(config, owner, entries)


def card(docstring: str) -> dict[str, str]:
    """The entries of the ``Card:`` section; a text may go on in deeper lines."""
    section = re.search(r"^Card:\n((?: +.*\n?|\n(?= ))+)", docstring, re.MULTILINE)
    if not section:
        return {}
    entries = re.findall(r"^(\w+): (.*(?:\n +.*)*)", dedent(section[1]), re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def counted(formula: str, arguments: dict[str, Any], src_vocab: int, tgt_vocab: int) -> int:
    """The value of a formula of ``PARTS`` for the arguments of a class."""
    sizes = {letter: arguments.get(option) for letter, option in LETTERS.items()}
    return int(eval(formula.replace("`", ""), {"__builtins__": {}}, {**sizes, "U": src_vocab, "V": tgt_vocab}))


def document(found: Iterable[Family]) -> str:
    """The whole page."""
    found = list(found)
    legend = ", ".join(f"{letter} `{option}`" for letter, option in LETTERS.items())
    return "\n".join(
        [
            INTRODUCTION,
            *table(["config", "year", "idea", "equation"], [row(f, "year", "idea", "equation") for f in found]),
            "",
            "## What it costs, and when to use it",
            "",
            "T is the length of what is read or written, S that of the source, in tokens; a step writes one.",
            "",
            *table(
                ["config", "training", "a decoding step", "when to use it", "paper"],
                [row(f, "training", "decoding", "use", "paper") for f in found],
            ),
            "",
            "## Parameters",
            "",
            "What a shipped configuration has; `tests/contract/test_parameters.py` counts after each formula.",
            f"U and V are the source and target vocabulary; {legend}.",
            "",
            *table(
                ["config", "embeddings and readout", "encoder", "decoder"],
                [[f"`{f.config.stem}`", *(f"`{f.card[part]}`" for part in PARTS)] for f in found],
            ),
            "",
        ]
    )


def row(item: Family, *columns: str) -> list[str]:
    return [f"`{item.config.stem}`", *(item.card[column].replace("|", "\\|") for column in columns)]


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of Markdown."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


if __name__ == "__main__":
    DOCUMENT.write_text(document(families()))
