"""The commands of docs/experiments/tracking.md run as they are typed, without W&B, which the other files are about."""

from pathlib import Path

import pytest

from tests.helpers.documents import blocks, commands, type_in, workplace

DOCUMENT = "docs/experiments/tracking.md"
SMALL = "--data.corpus Generated --data.tokenizer Characters --model.d_model 16 --model.d_embedding 16"


def test_the_commands_of_the_document_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    workplace(tmp_path, monkeypatch)
    for command in commands(DOCUMENT):
        type_in(command if "--ckpt_path" in command else f"{command} {SMALL}", monkeypatch)
    assert list(tmp_path.glob("runs/board/**/events.*"))


def test_a_list_of_loggers_is_made_of_all_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    workplace(tmp_path, monkeypatch)
    (several,) = blocks(DOCUMENT, "yaml")
    (tmp_path / "loggers.yaml").write_text(several)
    command = f"python -m s2s_lightning fit --config configs/lstm.yaml --config loggers.yaml {SMALL}"
    type_in(command, monkeypatch)
    assert list(tmp_path.glob("runs/board/**/events.*"))
    assert list(tmp_path.glob("runs/lstm/*/metrics.csv"))


def test_a_callback_of_the_document_shows_its_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workplace(tmp_path, monkeypatch)
    (example,) = blocks(DOCUMENT, "python")
    (tmp_path / "norms.py").write_text(example)
    shown = []
    monkeypatch.setattr("s2s_lightning.callbacks.reports.media.log_table", lambda trainer, *table: shown.append(table))
    command = f"python -m s2s_lightning fit --config configs/lstm.yaml --trainer.callbacks+=norms.Norms {SMALL}"
    type_in(command, monkeypatch)
    ((name, columns, rows),) = shown
    assert (name, columns) == ("norms", ["parameter", "norm"])
    assert all(norm > 0 for _, norm in rows)
