"""A configuration that others may have written is read, or refused in one line with its file and line."""

import os
from pathlib import Path

import pytest

from s2s_lightning.config.parser import Parser
from s2s_lightning.config.yaml_files import read_yaml
from s2s_lightning.errors import UserError
from tests.cli.conftest import command

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)

REFUSED = {
    "latin-1": (b"a: 1\nmodel: '\xe9'\n", "line 2: not UTF-8"),
    "utf-16": ("a: 1\n".encode("utf-16"), "line 1: not UTF-8"),
    "nul": (b"a: 1\nb: x\0y\n", r"no character 0x0 \(line 2\)"),
    "self": (b"a: &a [*a]\n", r"an alias stands within what it names \(line 1\)"),
    "self in a mapping": (b"a: &a\n  b: {c: *a}\n", "an alias stands within what it names"),
    "laughs": (LAUGHS.encode(), "its aliases expand to more than 100,000 values"),
    "merged laughs": (LAUGHS.replace("[", "{k: [").replace("]", "]}").encode(), "expand to more than"),
    "deep": (b"a: " + b"[" * 3000, "nests too deeply"),
    "twice": (b"lr: 1\nmodel: x\nlr: 2\n", r"the key 'lr' stands in line 1 already \(line 3\)"),
    "twice below": (b"optimizer:\n  lr: 1\n  lr: 2\n", r"the key 'lr' stands in line 2 already \(line 3\)"),
    "no end": (b"a: [1,\n", "line 2"),
    "two documents": (b"a: 1\n---\nb: 2\n", "single document"),
    "a call": (b"a: !!python/object/apply:os.system [ls]\n", r"could not determine a constructor .*\(line 1\)"),
    "a date": (b"a: 2024-99-99\n", "month must be in"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_it_is_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    content, why = REFUSED[kind]
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"config\.yaml.*{why}") as error:
        read_yaml(path)
    assert len(str(error.value)) < 300 + len(str(path))


def test_a_mark_of_the_byte_order_an_alias_and_a_merge_are_read(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes("\ufeffa: &a {lr: 1, b: 2}\r\nb: {<<: *a, lr: 3}\r\nc: [*a, *a]\r\n".encode())
    same = {"lr": 1, "b": 2}
    assert read_yaml(path) == {"a": same, "b": {"lr": 3, "b": 2}, "c": [same, same]}


@pytest.mark.parametrize("kind", ["folder", "pipe", "missing", "long"])
def test_what_is_no_file_is_said(tmp_path: Path, kind: str) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    path = tmp_path / {"long": "x" * 300}.get(kind, kind)
    for words in (["fit", "--config", path], ["sweep", path]):
        result = command(*words)
        assert result.code == 2
        assert result.err.startswith("error: ")
        assert result.err.count("\n") == 1


@pytest.mark.parametrize("value", [LAUGHS, "{a: &a [*a]}", "[" * 3000])
def test_a_value_of_an_option_is_looked_at_too(value: str) -> None:
    parser = Parser()
    parser.add_argument("--x", type=dict)
    with pytest.raises(UserError) as error:
        parser.parse_args([f"--x={value}"])
    assert len(str(error.value)) < 6000
