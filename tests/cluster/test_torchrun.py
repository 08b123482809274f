"""Two processes, and what becomes of a training when one of them ends: with torchrun it goes on, to the same end."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from tests.cli.conftest import CONFIG, Run
from tests.runs.runs import differences

SETTINGS = "--data.max_tokens 32 --trainer.val_check_interval 4 --trainer.enable_progress_bar false --model.dropout 0.3"


class Ends(Callback):
    """The second rank, in a step of the first start.

    Args:
        step: optimizer steps before.
        killed: by a signal, not by an exception.
    """

    def __init__(self, step: int, killed: bool = False) -> None:
        self.step, self.killed = step, killed

    def on_train_batch_start(self, trainer: Trainer, *args: Any) -> None:
        first = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
        if first and trainer.global_rank == 1 and trainer.global_step == self.step:
            if self.killed:
                os.kill(os.getpid(), signal.SIGKILL)
            raise ValueError("a shard is corrupt")


def fit(run: Path, *program: str, options: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """In processes of its own."""
    config = run.with_suffix(".yaml")
    config.write_text(CONFIG)
    ends = f"--trainer.callbacks+={__name__}.Ends {options}"
    words = [*program, str(run), "--config", str(config), *SETTINGS.split(), *ends.split()]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "PATH": path, **environment}
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, "subprocess.CompletedProcess[str]"]:
    """A run of two processes that Lightning starts; the second fails after the checkpoint of step 8."""
    run = tmp_path_factory.mktemp("failed") / "run"
    options = "--trainer.devices 2 --trainer.strategy ddp --trainer.max_steps 12 --trainer.callbacks.step 9"
    return Run(run), fit(run, sys.executable, "-m", "s2s_lightning", "fit", "--run", options=options)


def test_an_exception_of_one_rank_is_told_once(failed: tuple[Run, "subprocess.CompletedProcess[str]"]) -> None:
    _, result = failed
    assert result.returncode == 1
    assert result.stderr.count("Traceback") == 1
    assert result.stderr.endswith("\nerror: rank 1: ValueError: a shard is corrupt\n")


def test_with_torchrun_a_killed_process_changes_nothing(
    failed: tuple[Run, "subprocess.CompletedProcess[str]"], tmp_path: Path
) -> None:
    """Law 16 over two ranks: killed in step 6, after the checkpoint of step 4."""
    options = "--trainer.max_steps 8 --trainer.callbacks.step 6 --trainer.callbacks.killed true"
    options += " --config configs/hardware/torchrun.yaml"
    result = fit(tmp_path / "run", "scripts/torchrun.sh", options=options, PROCESSES="2")
    assert result.returncode == 0, result.stderr
    assert [line.split(" on ")[0] for line in result.stderr.splitlines() if "error" in line] == ["error: local rank 1"]
    assert "going on from step 4" in result.stderr
    ours, theirs = (torch.load(run.last, weights_only=True) for run in (Run(tmp_path / "run"), failed[0]))
    assert ours["global_step"] == theirs["global_step"] == 8
    for part in ("state_dict", "optimizer_states", "lr_schedulers"):
        assert list(differences(ours[part], theirs[part])) == []
