"""docs/start/python.md: its blocks, in order, as one program."""

from pathlib import Path

import pytest

from tests.helpers.documents import blocks


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec("\n".join(blocks("docs/start/python.md", "python")), {"__name__": "__main__"})
    assert (tmp_path / "runs" / "mine" / "checkpoints" / "best.ckpt").is_file()
