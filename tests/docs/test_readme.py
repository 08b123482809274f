"""The README is true: its commands run in the order in which they stand."""

from pathlib import Path

import pytest

from tests.helpers.documents import blocks, commands, type_in, workplace


def test_every_command_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "words.txt").write_text("lightning\nthunder\n")
    (tmp_path / "words.ref").write_text("L AY T N IH NG\nTH AH N D ER\n")
    workplace(tmp_path, monkeypatch)
    typed = commands("README.md")
    assert len(typed) >= 8
    for command in typed:
        type_in(command, monkeypatch)
    (loading,) = blocks("README.md", "python")
    exec(compile(loading, "README.md", "exec"), {})


def test_the_readme_is_short() -> None:
    assert len(Path("README.md").read_text().splitlines()) < 250
