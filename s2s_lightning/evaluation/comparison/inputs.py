"""Systems and references from files: line i of each answers line i of every other."""

import json
from collections.abc import Sequence
from glob import glob
from pathlib import Path

from s2s_lightning.errors import UserError
from s2s_lightning.evaluation.comparison.systems import System
from s2s_lightning.files import read_lines


class Reader:
    """Reads files, and holds all to the number of lines of the first."""

    def __init__(self) -> None:
        self._first: tuple[str, int] | None = None

    def __call__(self, path: str) -> list[str]:
        """The lines.

        Raises:
            UserError: the file is missing, empty, not UTF-8, or has another number of lines than the first one.
        """
        lines = list(read_lines(path))
        if not lines:
            raise UserError(f"{path} is empty: there is nothing to compare")
        name, count = self._first = self._first or (path, len(lines))
        if len(lines) != count:
            raise UserError(
                f"{path} has {len(lines):,} lines and {name} has {count:,}: line i of one answers line i of the other, "
                "so the counts must be equal"
            )
        return lines


def read_references(paths: Sequence[str], read: Reader) -> list[tuple[str, ...]]:
    """Return the right answers to each item: of several files one each, of a ``.jsonl`` a list in each line.

    Raises:
        UserError: as ``Reader``; a line of a ``.jsonl`` that is no list of texts.
    """
    if len(paths) == 1 and paths[0].endswith(".jsonl"):
        return [_answers(line, f"{paths[0]}, line {number}") for number, line in enumerate(read(paths[0]), 1)]
    return list(zip(*map(read, paths), strict=True))


def _answers(line: str, where: str) -> tuple[str, ...]:
    try:
        answers = json.loads(line)
    except (ValueError, RecursionError):
        answers = None
    if not (isinstance(answers, list) and answers and all(isinstance(each, str) for each in answers)):
        raise UserError(f'{where}: it must be a list of the right answers, such as ["one", "or another"]')
    return tuple(answers)


def read_systems(arguments: Sequence[str], read: Reader) -> list[System]:
    """A system for each ``FILE``, ``NAME=FILE`` or ``NAME=FILE,PATTERN,...``.

    Raises:
        UserError: as ``Reader``; two systems have one name.
    """
    systems: dict[str, System] = {}
    for name, files in map(_name_and_files, arguments):
        if name in systems:
            raise UserError(f"there are two systems of the name {name}: give them names, as in NAME={files[0]}")
        systems[name] = System(name, [read(path) for path in files], files)
    return list(systems.values())


def _name_and_files(argument: str) -> tuple[str, list[str]]:
    name, equals, rest = argument.partition("=")
    if not equals or not name or Path(argument).is_file():
        return argument, [argument]
    pieces = [rest] if Path(rest).is_file() else rest.split(",")
    files = [path for piece in pieces for path in _matches(piece)]
    if repeated := next((path for path in files if files.count(path) > 1), None):
        raise UserError(f"{argument}: {repeated} would count twice; each seed needs a file of its own")
    return name, files


def _matches(piece: str) -> list[str]:
    """The file itself, or those of a pattern; a name without any match is left to fail as a file."""
    return (
        [piece] if Path(piece).is_file() else sorted(filter(lambda path: Path(path).is_file(), glob(piece))) or [piece]
    )
