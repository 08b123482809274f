"""``s2s_lightning.trainer``: losses, metrics and files of the command line, from Python (law 34)."""

import csv
import json
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch

import s2s_lightning
from s2s_lightning.callbacks import Attention, Progress
from s2s_lightning.callbacks.checkpointing.checkpoints import BestAndLast
from s2s_lightning.errors import UserError
from s2s_lightning.python.trainers import RunTrainer
from tests.cli.conftest import CONFIG, done
from tests.python.test_plain_trainer import parts

TIMED = ("train/tokens_per_second", "train/peak_memory_gib")


def rows(folder: Path) -> list[dict[str, str]]:
    """metrics.csv without what no two runs have in common."""
    with (folder / "metrics.csv").open() as file:
        return [{k: v for k, v in row.items() if k not in TIMED} for row in csv.DictReader(file)]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return state


def trained(folder: Path, **options: Any) -> RunTrainer:
    model, data = parts()
    model.optimizer = partial(torch.optim.AdamW, lr=3e-3)
    settings = {"max_steps": 4, "accelerator": "cpu", "log_every_n_steps": 1, "callbacks": [Attention(num_items=0)]}
    trainer = s2s_lightning.trainer(folder, **{**settings, **options})
    trainer.fit(model, datamodule=data)
    return trainer


def test_python_gives_the_losses_metrics_and_files_of_the_command_line(tmp_path: Path) -> None:
    config = tmp_path / "tiny.yaml"
    config.write_text(CONFIG)
    done("fit", "--config", config, "--run", tmp_path / "typed", "--trainer.log_every_n_steps", "1")
    trained(tmp_path / "called")
    typed, called = tmp_path / "typed", tmp_path / "called"
    assert rows(called) == rows(typed)
    for name, tensor in weights(typed).items():
        assert torch.equal(weights(called)[name], tensor), name
    scores = [json.loads((folder / "val_scores.json").read_text()) for folder in (typed, called)]
    assert scores[0] == scores[1]
    files = [{p.relative_to(f).as_posix() for p in f.rglob("*")} for f in (typed, called)]
    assert files[0] - files[1] == {"config.yaml"}  # of the options of a command line
    assert not files[1] - files[0]


def test_a_second_trainer_of_the_folder_resumes_exactly(tmp_path: Path) -> None:
    trained(tmp_path / "through", max_steps=6)
    trained(tmp_path / "cut", max_steps=3)
    trained(tmp_path / "cut", max_steps=6)
    for name, tensor in weights(tmp_path / "through").items():
        assert torch.equal(weights(tmp_path / "cut")[name], tensor), name
    assert [row["train/loss"] for row in rows(tmp_path / "cut") if row["train/loss"]] == [
        row["train/loss"] for row in rows(tmp_path / "through") if row["train/loss"]
    ]


def test_the_best_checkpoint_is_tested_and_generates(tmp_path: Path) -> None:
    trainer = trained(tmp_path / "run", checkpoint=BestAndLast("val/bleu"))
    model, data = parts()
    (scores,) = trainer.test(model, datamodule=data, ckpt_path="best", verbose=False, weights_only=True)
    assert "test/bleu" in scores
    assert len(s2s_lightning.load(tmp_path / "run").generate(["1 2"])) == 1


@pytest.mark.parametrize(
    "options", [{"enable_checkpointing": False}, {"logger": False}, {"fast_dev_run": True}, {"patience": 1}], ids=str
)
def test_settings_train(tmp_path: Path, options: dict[str, Any]) -> None:
    trainer = trained(tmp_path / "run", **options)
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").exists() == (
        "enable_checkpointing" not in options and "fast_dev_run" not in options
    )
    assert trainer.global_step >= 1


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean val/loss"):
        trained(tmp_path / "run", checkpoint=BestAndLast("val/los"))
    with pytest.raises(UserError, match="max_stepz"):
        s2s_lightning.trainer(tmp_path / "other", max_stepz=3)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file"):
        s2s_lightning.trainer(tmp_path / "file" / "run")


def test_a_progress_bar_of_the_user_replaces_ours(tmp_path: Path) -> None:
    own = lightning.pytorch.callbacks.TQDMProgressBar()
    callbacks = s2s_lightning.trainer(tmp_path / "run", callbacks=own).callbacks  # type: ignore[attr-defined]
    assert own in callbacks
    assert not any(isinstance(each, Progress) for each in callbacks)
