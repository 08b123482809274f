"""Ctrl-C ends a run well."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from tests.cli.conftest import Run, command, fitted


class PressCtrlC(Callback):
    """At the second step."""

    def on_train_batch_start(self, trainer: Trainer, *args: Any) -> None:
        if trainer.global_step == 1:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def _restored_signal() -> Iterator[None]:
    """Lightning ignores further interrupts while it shuts down, and afterwards."""
    handler = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.mark.usefixtures("_restored_signal")
def test_ctrl_c_saves_the_step_and_says_how_to_go_on(config: Path, tmp_path: Path) -> None:
    presses = f"--trainer.callbacks+={__name__}.PressCtrlC"
    result = command("fit", "--config", config, presses, "--trainer.default_root_dir", tmp_path)
    (folder,) = tmp_path.glob("*/[0-9]*")
    last = Run(folder).last
    assert result.code == 130
    assert torch.load(last, weights_only=True)["global_step"] == 2
    resumed = fitted(tmp_path / "resumed", "--ckpt_path", last, "--trainer.callbacks", "null")
    assert torch.load(resumed.last, weights_only=True)["global_step"] == 4


def test_a_reader_that_leaves_early_hears_no_complaint(trained: Run, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("1 2\n" * 20000)
    program = [sys.executable, "-m", "s2s_lightning", "generate", trained.last, tmp_path / "text"]
    search = ["--decoding", "Greedy", "--decoding.max_length", "1"]
    with subprocess.Popen([*program, *search], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
