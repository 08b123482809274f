"""A trial of a sweep, in this process."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import wandb
from lightning.pytorch import Callback, Trainer

from tests.cli.conftest import command, fitted


class Stopped(Callback):
    """By its sweep, while the second step is being trained."""

    def on_train_batch_start(self, trainer: Trainer, *args: Any) -> None:
        if trainer.global_step == 1:
            stop = wandb.setup().settings.stop_fn
            assert stop is not None
            stop()


@pytest.fixture
def _in_sweep(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("WANDB_SWEEP_ID", "a_sweep")
    wandb.teardown()  # whose settings are read once
    yield
    wandb.teardown()


@pytest.mark.usefixtures("_in_sweep")
def test_a_stopped_trial_validates_and_saves_its_last_step(config: Path, tmp_path: Path) -> None:
    options = ["--trainer.max_steps", "100", "--trainer.logger", "false"]
    run = fitted(tmp_path, "--config", config, *options, f"--trainer.callbacks+={__name__}.Stopped")
    assert json.loads((run.folder / "val_scores.json").read_text())["step"] == 2
    for checkpoint in (run.best, run.last):
        assert torch.load(checkpoint, weights_only=True)["global_step"] == 2


@pytest.mark.parametrize(("sweep", "begun"), [("a_sweep", 1), ("", 0)], ids=["in a sweep", "elsewhere"])
def test_a_refused_trial_is_a_run_of_its_sweep(sweep: str, begun: int, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[str] = []
    monkeypatch.setenv("WANDB_SWEEP_ID", sweep)
    monkeypatch.setattr(wandb, "init", lambda: runs.append("begun"))
    result = command("fit", "--trainer.max_stepz", "1")
    assert result.code == 2
    assert "max_stepz" in result.err
    assert len(runs) == begun
