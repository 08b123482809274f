"""The commands of docs/experiments/finding.md run as they are typed, on little."""

from pathlib import Path

import pytest

from tests.helpers.documents import commands, type_in, workplace

DOCUMENT = "docs/experiments/finding.md"
LITTLE = {
    "FindLearningRate": ("--trainer.callbacks.num_steps 20", "lr_finder.png"),
    # with the memory that the tests before it have taken in this process
    "FindBatchSize": (
        "--trainer.callbacks.largest 1024 --trainer.callbacks.seconds 0 --trainer.callbacks.memory 64",
        "batch_size_finder.png",
    ),
    "Profile": ("--trainer.callbacks.warmup 0", "profile.png"),
}


@pytest.mark.parametrize("command", commands(DOCUMENT), ids=["rate", "apply", "size", "profile", "trace"])
def test_a_command_of_the_document_runs(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workplace(tmp_path, monkeypatch)
    little, picture = next(what for name, what in LITTLE.items() if name in command)
    type_in(f"{command} {little} --data.corpus Generated --data.tokenizer Characters", monkeypatch)
    assert [*tmp_path.glob(f"runs/*/*/{picture}")]
    assert [*tmp_path.glob("runs/*/*/trace.json.gz")] or "trace" not in command
