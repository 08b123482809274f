"""The commands of docs/models/objectives.md in their order, after the two runs that they start from."""

from pathlib import Path

import pytest

from tests.helpers.documents import commands, type_in, workplace

DOCUMENT = "docs/models/objectives.md"

TINY = """
data: {corpus: {class_path: Generated, init_args: {max_length: 4, train_pairs: 60, val_pairs: 4, test_pairs: 4}}}
trainer: {accelerator: cpu}
attention: {num_items: 0}
"""


def test_every_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = workplace(tmp_path, monkeypatch)
    (folder / "tiny.yaml").write_text(TINY)
    typed = commands(DOCUMENT)
    assert len(typed) >= 8
    before = [f"python -m s2s_lightning fit --config configs/{name}.yaml" for name in ("transformer", "luong")]
    for command in [*before, *typed]:
        fits = " fit " in command
        type_in(f"{command} --config tiny.yaml" if fits else command, monkeypatch)
