"""The commands of docs/cluster/resuming.md run as they are typed, one after the other."""

from pathlib import Path

import pytest
import torch

from tests.helpers.documents import commands, type_in, workplace

DOCUMENT = "docs/cluster/resuming.md"

TINY = """
data: {corpus: {class_path: Generated, init_args: {max_length: 4, train_pairs: 60, val_pairs: 4, test_pairs: 4}}}
trainer: {accelerator: cpu}
attention: {num_items: 0}
"""


def test_its_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = workplace(tmp_path, monkeypatch)
    (folder / "tiny.yaml").write_text(TINY)
    begin, resume, change, run, branch = commands(DOCUMENT)
    type_in(f"{begin} --config tiny.yaml", monkeypatch)
    first = (folder / "runs/transformer/latest").resolve()
    for command in (resume, change):
        type_in(command, monkeypatch)
    for _ in range(2):
        type_in(f"{run} --config tiny.yaml", monkeypatch)
    type_in(branch, monkeypatch)
    for place in (first, folder / "runs/transformer/baseline"):
        assert torch.load(place / "checkpoints/last.ckpt", weights_only=True)["global_step"] == 2
