"""docs/search/scoring.md, from its first command to its last, on a tiny corpus."""

import shlex
from pathlib import Path

import pytest

from s2s_lightning.__main__ import main
from tests.helpers.documents import blocks, commands, workplace

DOCUMENT = "docs/search/scoring.md"
TINY = """
data:
  corpus: {class_path: Generated, init_args: {task: copy, train_pairs: 50, val_pairs: 4, test_pairs: 4}}
model: {init_args: {num_encoder_layers: 1, num_decoder_layers: 1}}
trainer: {max_steps: 5, limit_train_batches: 1, accelerator: cpu}
"""


def test_the_document_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    workplace(tmp_path, monkeypatch)
    (tmp_path / "tiny.yaml").write_text(TINY)
    for side in ("src", "tgt"):
        (tmp_path / f"test.{side}").write_text("1 2 3\n4\n")
    for command in commands(DOCUMENT):
        words = shlex.split(command)[3:]
        main([*words, *(["--config", "tiny.yaml"] if words[0] == "fit" else [])])
    assert len((tmp_path / "scores.tsv").read_text().splitlines()) == 2
    assert len((tmp_path / "scores.jsonl").read_text().splitlines()) == 2
    capsys.readouterr()
    (python,) = blocks(DOCUMENT, "python")
    exec(python, {})
    assert "'</s>'" in capsys.readouterr().out
