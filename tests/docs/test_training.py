"""The commands of docs/start/training.md run as they are typed."""

import gzip
from pathlib import Path

import pytest
import torch

from tests.helpers.documents import commands, type_in, workplace

DOCUMENT = "docs/start/training.md"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the file of vectors that the document speaks of."""
    with gzip.open(tmp_path / "vectors.txt.gz", "wt") as file:
        file.writelines(f"{letter} {' '.join(['0.5'] * 128)}\n" for letter in "abcde0123456789")
    return workplace(tmp_path, monkeypatch)


@pytest.mark.parametrize("command", commands(DOCUMENT), ids=["ema", "vectors", "freezing", "dropout", "recurrent"])
def test_a_command_of_the_document_runs(command: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    type_in(f"{command} --data.corpus Generated --data.tokenizer Characters", monkeypatch)
    (checkpoint,) = folder.glob("runs/*/latest/checkpoints/last.ckpt")
    assert torch.load(checkpoint, weights_only=True)["global_step"] == 2
