"""The examples of docs/develop/extending.md, each saved to a file outside the package and used as the document says."""

from pathlib import Path

import pytest

from tests.helpers.documents import blocks, commands, type_in, workplace

DOCUMENT = "docs/develop/extending.md"


@pytest.mark.parametrize("command", commands(DOCUMENT), ids=["corpus", "tokenizer", "metric", "search"])
def test_a_part_of_ones_own_comes_in_by_class_path(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for block in blocks(DOCUMENT, "python"):
        name = block.splitlines()[0].removeprefix("# ")
        (tmp_path / name).write_text(block)
    workplace(tmp_path, monkeypatch)
    type_in(command, monkeypatch)
    assert list(tmp_path.glob("runs/lstm/*/checkpoints/last.ckpt"))
