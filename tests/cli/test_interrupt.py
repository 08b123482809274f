"""Ctrl-C and the signals of clusters and supervisors end a run well."""

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from s2s_lightning.callbacks.checkpointing import stop_signal
from s2s_lightning.callbacks.checkpointing.stop_signal import Agreement
from s2s_lightning.cluster import signals
from tests.cli.conftest import Run, command, done, fitted

TWO = ["--trainer.val_check_interval", 2]


class Signal(Callback):
    """To this very process.

    Args:
        number: of the signal.
        step: when it comes.
        during: that step, its "validation", or the "saving" of a checkpoint of it.
    """

    def __init__(self, number: int, step: int = 2, during: str = "step") -> None:
        self.number, self.step, self.during = number, step, during

    def on_train_batch_start(self, trainer: Trainer, *args: Any) -> None:
        self._send(trainer.global_step + 1, "step")

    def on_validation_batch_start(self, trainer: Trainer, *args: Any) -> None:
        self._send(trainer.global_step, "validation")

    def on_save_checkpoint(self, trainer: Trainer, *args: Any) -> None:
        self._send(trainer.global_step, "saving")

    def _send(self, *now: object) -> None:
        if now == (self.step, self.during):
            self.during = "over"
            os.kill(os.getpid(), self.number)


class PressCtrlC(Signal):
    """At the second step."""

    def __init__(self) -> None:
        super().__init__(signal.SIGINT)


def sends(number: int, step: int = 2, during: str = "step") -> list[object]:
    """Options of a run that gets a signal."""
    given = {"number": number, "step": step, "during": during}
    return [f"--trainer.callbacks+={__name__}.Signal", *(f"--trainer.callbacks.{k}={v}" for k, v in given.items())]


@pytest.fixture
def _restored_signal() -> Iterator[None]:
    """Lightning ignores further interrupts while it shuts down, and afterwards."""
    numbers = (signal.SIGINT, *signals.GRACEFUL)
    handlers = [signal.getsignal(number) for number in numbers]
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which nohup may have switched off for all of the suite
    yield
    signals.asked.number = 0
    for number, handler in zip(numbers, handlers, strict=True):
        signal.signal(number, handler)


@pytest.mark.usefixtures("_restored_signal")
@pytest.mark.parametrize("number", [signal.SIGINT, *signals.GRACEFUL])
def test_a_signal_saves_the_step_and_says_how_to_go_on(config: Path, tmp_path: Path, number: int) -> None:
    result = command("fit", "--config", config, *sends(number), "--trainer.default_root_dir", tmp_path)
    (folder,) = tmp_path.glob("*/[0-9]*")
    last = Run(folder).last
    assert result.code == 128 + number
    assert torch.load(last, weights_only=True)["global_step"] == 2
    resumed = fitted(tmp_path / "resumed", "--ckpt_path", last, "--trainer.callbacks", "null")
    assert torch.load(resumed.last, weights_only=True)["global_step"] == 4


def validations(run: Run) -> list[str]:
    """Step and scores of each."""
    if not (run.folder / "metrics.csv").exists():
        return []
    header, *rows = (line.split(",") for line in (run.folder / "metrics.csv").read_text().splitlines())
    columns = [i for i, name in enumerate(header) if name.startswith("val/") or name == "step"]
    return [",".join(row[i] for i in columns) for row in rows if row[header.index("val/loss")]]


@pytest.mark.usefixtures("_restored_signal")
@pytest.mark.parametrize(
    ("options", "step", "during"),
    [
        (TWO, 2, "validation"),
        ([*TWO, "--trainer.callbacks+=s2s_lightning.callbacks.EMA"], 2, "validation"),
        ([*TWO, "--trainer.accumulate_grad_batches=2", "--trainer.max_steps=2"], 1, "step"),
        (TWO, 2, "step"),
        (TWO, 2, "saving"),
        (TWO, 4, "validation"),
        (["--trainer.val_check_interval=3"], 4, "step"),  # the validation that comes only because the run ends
        (["--trainer.val_check_interval=3"], 4, "validation"),
    ],
)
def test_a_run_that_is_left_validates_and_ends_as_if_it_had_not_been(
    config: Path, tmp_path: Path, options: list[object], step: int, during: str
) -> None:
    options = ["--config", config, *options]
    never = fitted(tmp_path / "never", *options)
    left = Run(tmp_path / "left")
    interrupted = [*options, "--run", left.folder]
    assert command("fit", *interrupted, *sends(signal.SIGTERM, step, during)).code == 128 + signal.SIGTERM
    assert torch.load(left.last, weights_only=True)["global_step"] <= step + (during == "saving")
    assert (during == "saving") == (str(step) in [row.split(",")[0] for row in validations(left)])
    done("fit", *interrupted)
    assert validations(left) == validations(never)
    for name in ("last", "best"):
        mine, theirs = (torch.load(getattr(run, name), weights_only=True) for run in (left, never))
        assert mine["global_step"] == theirs["global_step"]
        torch.testing.assert_close(mine["state_dict"], theirs["state_dict"], rtol=0, atol=0)


@pytest.fixture
def scontrol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a job that is running; where it writes what it is told."""
    program = tmp_path / "bin" / "scontrol"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/told\necho "JobId=7 JobState=${{STATE-RUNNING}} Reason=None"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_JOB_NAME", "bash")  # by which Lightning lets alone what else there is of SLURM
    return tmp_path / "told"


@pytest.mark.usefixtures("_restored_signal")
@pytest.mark.parametrize(
    ("environment", "code", "told"),
    [
        ({}, 0, "show job 7\nrequeue 7\n"),
        ({"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3"}, 0, "show job 7_3\nrequeue 7_3\n"),
        ({"STATE": "COMPLETING"}, 138, "show job 7\n"),  # its user has cancelled it
        ({"S2S_LIGHTNING_TRIAL": "trial"}, 138, None),  # the job is its sweep's
        ({"S2S_LIGHTNING_SEED": "2"}, 138, None),  # or its seeds'
    ],
)
def test_a_job_goes_back_into_its_queue(
    config: Path, tmp_path: Path, scontrol: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str],
    code: int, told: str | None,
) -> None:  # fmt: skip
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if folder := environment.get("S2S_LIGHTNING_TRIAL"):
        monkeypatch.chdir(tmp_path)
        Path(folder).mkdir()
        Path(folder, "trial.json").write_text('{"metric": "val/loss", "may_stop": false}')
    run = Run(tmp_path / "run")
    assert command("fit", "--config", config, *sends(signal.SIGUSR1), "--run", run.folder).code == code
    assert torch.load(run.last, weights_only=True)["global_step"] == 2
    assert (scontrol.read_text() if scontrol.exists() else None) == told


@pytest.mark.usefixtures("_restored_signal")
def test_a_signal_from_before_python_listened_is_heard() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})  # as by: env --block-signal=USR1
    signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
    assert signals.asked.number == 0
    signals.listen()
    assert signals.asked.number == signal.SIGUSR1


def test_ranks_ask_each_other_at_the_same_steps_whatever_their_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that would wait for ever for each other's answer if they did not."""
    monkeypatch.setattr(stop_signal, "SECONDS", 0.02)
    meeting = threading.Barrier(2, timeout=10)
    said: dict[int, torch.Tensor] = {}
    heard: dict[int, tuple[int, int]] = {}
    questions: list[int] = []

    def rank(me: int) -> None:
        def reduce(value: torch.Tensor, reduce_op: str) -> torch.Tensor:
            questions.append(step)
            said[me] = value
            meeting.wait()
            most = torch.maximum(said[0], said[1])
            meeting.wait()
            return most

        strategy = SimpleNamespace(root_device=torch.device("cpu"), reduce=reduce)
        trainer: Any = SimpleNamespace(world_size=2, strategy=strategy)
        agree = Agreement()
        for step in range(200):
            threading.Event().wait(0.001 * (1 + 3 * me) if step < 100 else 0.001)
            if number := agree(trainer, signal.SIGTERM if me and step >= 150 else 0, step):
                heard[me] = (step, number)
                return

    threads = [threading.Thread(target=rank, args=(me,)) for me in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heard[0] == heard[1] == (heard[0][0], signal.SIGTERM)
    assert 150 <= heard[0][0] < 199
    assert len(questions) < 100  # of 300 steps: it costs little


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


def test_lightning_has_what_we_take_over() -> None:
    trainer = Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False)
    assert trainer._signal_connector.register_signal_handlers.__func__  # type: ignore[attr-defined]
    assert trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor.__func__  # type: ignore[attr-defined]


@pytest.mark.usefixtures("_restored_signal")
def test_nohup_is_respected() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert signal.SIGHUP not in signals.graceful()
    signals.listen()
    with signals.interruptible():
        os.kill(os.getpid(), signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    assert signal.SIGHUP in signals.graceful()


@pytest.mark.usefixtures("_restored_signal")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_command_cleans_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    handlers = [signal.getsignal(each) for each in signals.GRACEFUL]

    def average(paths: object) -> object:
        return {"x": Interrupting(number)}

    monkeypatch.setattr("s2s_lightning.checkpoints.weight_average.average", average)
    (tmp_path / "one.ckpt").touch()
    monkeypatch.setattr("s2s_lightning.cli.commands.average.chosen", lambda options: [tmp_path / "one.ckpt"])
    assert command("average", tmp_path / "one.ckpt", "-o", tmp_path / "out").code == 128 + number
    assert [path.name for path in tmp_path.iterdir()] == ["one.ckpt"]
    assert [signal.getsignal(each) for each in signals.GRACEFUL] == handlers


class Interrupting:
    """Sends a signal to this process while it is written."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> tuple[type, tuple[int]]:
        os.kill(os.getpid(), self.number)
        return Interrupting, (self.number,)


@pytest.mark.usefixtures("_restored_signal")
def test_a_training_whose_terminal_is_gone_saves(config: Path, tmp_path: Path) -> None:
    """Its lines go to the terminal, and would raise an error there."""
    ours, theirs = os.openpty()
    options = ["--config", config, "--run", tmp_path / "run", "--trainer.max_steps", "1000000"]
    words = [sys.executable, "-m", "s2s_lightning", "fit", *map(str, options), "--trainer.limit_val_batches", "0"]
    with subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True) as process:
        os.close(theirs)
        end = time.monotonic() + 60
        while not (tmp_path / "run" / "run.json").exists() and time.monotonic() < end:
            if select.select([ours], [], [], 0.1)[0]:
                os.read(ours, 4096)
        os.close(ours)  # the other side writes to nobody from here on
        process.send_signal(signal.SIGHUP)
        try:
            assert process.wait(30) == 128 + signal.SIGHUP
        finally:
            process.kill()
    assert Run(tmp_path / "run").last.is_file()
