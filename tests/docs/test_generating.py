"""The commands of docs/start/generating.md run as they are typed, and so does its example."""

import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.helpers.documents import blocks, commands, type_in

DOCUMENT = "docs/start/generating.md"


def test_every_command_of_the_document_runs(trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(trained.best, tmp_path / "best.ckpt")
    (tmp_path / "test.txt").write_text("1 2 3\n4 5\n")
    (tmp_path / "prefixes.txt").write_text("1\n\n")
    (tmp_path / "requests.jsonl").write_text('{"text": "1 2"}\n')
    monkeypatch.chdir(tmp_path)
    typed = commands(DOCUMENT)
    assert len(typed) == 10
    for command in typed:
        type_in(command, monkeypatch)
    assert (tmp_path / "test.out").read_text().count("\n") == 2
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == ["000000.html", "000001.html"]
    (example,) = blocks(DOCUMENT, "python")
    exec(compile(example, DOCUMENT, "exec"), {})
