"""Documents as tests: their fenced blocks, and their commands run in this process."""

import ast
import os
import re
import shlex
import sys
from pathlib import Path

import pytest

from s2s_lightning.__main__ import main

ROOT = Path(__file__).parents[2]


SHORTENED = {"fit": ["--trainer.max_steps", "2"], "test": ["--trainer.limit_test_batches", "1"]}
"""Options that shorten a command."""


def blocks(document: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)


def commands(document: str) -> list[str]:
    """What a document tells its reader to type, but for the installs, which the continuous integration types."""
    lines = "\n".join(blocks(document, "bash")).splitlines()
    return [line.split("&& ")[-1] for line in lines if "-m s2s_lightning" in line]


def type_in(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run one command, training and tests shortened."""
    words = shlex.split(command)
    if "|" in words:
        reader, writer = os.pipe()
        os.write(writer, f"{words[1]}\n".encode())
        os.close(writer)
        monkeypatch.setattr(sys, "stdin", os.fdopen(reader))
        words = words[words.index("|") + 1 :]
    assert words[:3] == ["python", "-m", "s2s_lightning"]
    main([*words[3:], *SHORTENED.get(words[3], [])])


def workplace(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with the configurations in it, as the current one and on the Python path."""
    (folder / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    return folder


def tree() -> str:
    """The package, a line a file: its name, and the first sentence of its docstring."""
    package = ROOT / "s2s_lightning"
    lines = []
    for path in sorted(package.rglob("*.py"), key=lambda path: (len(path.relative_to(package).parts) > 1, path)):
        if sentence := (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")[0]:
            name = path.relative_to(package).as_posix().replace("__init__.py", "")
            first = re.split(r"(?<=[a-z)`])\.(?: |$)", " ".join(sentence.split()))[0]
            lines.append(f"{name or '__init__.py':50}{first}")
    return "\n".join(lines)
