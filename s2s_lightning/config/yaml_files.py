"""YAML that others may have written: read without surprises, or refused in one line with file and line number."""

from pathlib import Path
from typing import Any

import yaml

from s2s_lightning.errors import UserError
from s2s_lightning.files import check_file, decode_utf8

LARGEST = 100_000
"""Values that a configuration may have, aliases written out: an alias of aliases grows without end in a few bytes."""

LONGEST = 10_000_000
"""Bytes of a configuration file."""


def read_yaml(path: str | Path) -> Any:
    """Return the content of a YAML file.

    Raises:
        UserError: it is missing, no regular file, not UTF-8, not YAML, says a key twice, or expands too far.
    """
    name = check_file(str(path))
    if (size := Path(name).stat().st_size) > LONGEST:
        raise UserError(f"{name} has {size:,} bytes, more than a configuration has ({LONGEST:,})")
    try:
        lines = Path(name).read_bytes().split(b"\n")
    except OSError as error:
        raise UserError(f"{name} cannot be read: {error.strerror}") from error
    text = "\n".join(decode_utf8(line, name, number) for number, line in enumerate(lines, 1))
    return parse_yaml(text.removeprefix("\ufeff"), name)


def parse_yaml(text: str, name: str) -> Any:
    """Return the content of a YAML text; ``name`` is that of its file in errors.

    Raises:
        UserError: as ``read_yaml``.
    """
    try:
        check_yaml(text)
        return yaml.safe_load(text)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise UserError(f"{name} is not valid YAML: it has no character {error.character:#x} (line {line})") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"(line {mark.line + 1})" if mark else ""
        why = " ".join(filter(None, [error.context, error.problem, place]))
        raise UserError(f"{name} is not valid YAML: {why}") from error
    except (yaml.YAMLError, ValueError) as error:  # a date such as 2024-99-99, a number such as 0o9
        raise UserError(f"{name} is not valid YAML: {error}") from error


def check_yaml(text: str) -> None:
    """Look at a YAML text before it becomes objects.

    Raises:
        YAMLError: it says a key twice, an alias stands within itself, or it expands or nests too far.
    """
    try:
        for node in yaml.compose_all(text, Loader=yaml.SafeLoader):
            _expanded(node, {}, set())
    except RecursionError as error:
        raise yaml.YAMLError("it nests too deeply") from error


def _expanded(node: yaml.Node, known: dict[int, int], within: set[int]) -> int:
    """Return how many values a node has with its aliases written out."""
    if id(node) in within:
        raise yaml.MarkedYAMLError(problem="an alias stands within what it names", problem_mark=node.start_mark)
    if id(node) not in known:
        within.add(id(node))
        known[id(node)] = 1 + sum(_expanded(part, known, within) for part in _parts(node))
        within.remove(id(node))
    if known[id(node)] > LARGEST:
        raise yaml.MarkedYAMLError(
            problem=f"its aliases expand to more than {LARGEST:,} values", problem_mark=node.start_mark
        )
    return known[id(node)]


def _parts(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        _refuse_repeated_keys(node)
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _refuse_repeated_keys(node: yaml.MappingNode) -> None:
    lines: dict[tuple[str, str], int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        if (name := (key.tag, key.value)) in lines:
            raise yaml.MarkedYAMLError(
                problem=f"the key {key.value!r} stands in line {lines[name]} already", problem_mark=key.start_mark
            )
        lines[name] = key.start_mark.line + 1
