"""docs/search/exporting.md does what it says."""

from pathlib import Path

import pytest

from tests.helpers.documents import blocks, commands, type_in, workplace

DOCUMENT = "docs/search/exporting.md"


def test_the_document_goes_from_a_run_to_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ctranslate2")
    workplace(tmp_path, monkeypatch)
    (tmp_path / "sources.txt").write_text("3 1 2\n")
    type_in("python -m s2s_lightning fit --config configs/transformer.yaml --data.corpus Generated", monkeypatch)
    for command in commands(DOCUMENT):
        type_in(command, monkeypatch)
    (code,) = blocks(DOCUMENT, "python")
    said: dict[str, object] = {}
    exec(compile(code, DOCUMENT, "exec"), said)
    assert len(said["texts"]) == 2  # type: ignore[arg-type]
