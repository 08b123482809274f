"""One command line begins a run in a folder and goes on there, from the newest whole checkpoint."""

import csv
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from s2s_lightning.callbacks import Evaluation
from s2s_lightning.callbacks.checkpointing.checkpoints import BestAndLast
from s2s_lightning.cli.commands.average import candidates
from s2s_lightning.errors import UserError
from tests.cli.conftest import CONFIG, Run, command, done
from tests.helpers.toy import ToyData, ToyModule, toy_trainer

EVERY = ["--trainer.log_every_n_steps", 1]


def content(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)  # type: ignore[no-any-return]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(CONFIG)
    return path


def logged(run: Run, name: str) -> list[tuple[int, str]]:
    """Step and value of each row of metrics.csv that has the metric."""
    with (run.folder / "metrics.csv").open(newline="") as file:
        return [(int(row["step"]), row[name]) for row in csv.DictReader(file) if row[name]]


def test_one_command_line_begins_a_run_and_goes_on_with_it(
    config: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run(tmp_path / "here")
    typed = [
        "fit",
        "--config",
        config,
        "--run",
        run.folder,
        "--trainer.callbacks+=EMA",
        "--seed_everything",
        "true",
        *EVERY,
    ]
    done(*typed, "--trainer.max_steps", 3)
    assert content(run.last)["global_step"] == 3
    done(*typed, "--trainer.max_steps", 5)
    assert content(run.last)["global_step"] == 5
    assert [step for step, _ in logged(run, "train/loss")] == [1, 2, 3, 4, 5]
    assert [step for step, _ in logged(run, "val/loss")] == [3, 4, 5]  # an epoch has 4 steps
    assert "going on from step 3" in caplog.text
    assert (run.last.parent / "previous.ckpt").is_file()
    assert "previous.ckpt" not in {each.path.name for each in candidates(run.folder)}


def test_resume_takes_the_configuration_of_the_checkpoint(config: Path, tmp_path: Path) -> None:
    root = ["--trainer.default_root_dir", tmp_path / "runs"]
    done("fit", "--config", config, *root, *EVERY)
    latest = Run(tmp_path / "runs/tiny/latest")
    folder = latest.folder.resolve()
    done("fit", "--resume", latest.folder, "--trainer.max_steps", 6)
    assert latest.folder.resolve() == folder
    assert content(latest.last)["global_step"] == 6
    assert [step for step, _ in logged(latest, "train/loss")] == [1, 2, 3, 4, 5, 6]
    assert "run: null" not in (folder / "config.yaml").read_text()


def test_a_torn_checkpoint_is_passed_over(config: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = Run(tmp_path / "here")
    done("fit", "--config", config, "--run", run.folder)
    whole = run.last.read_bytes()
    torch.save({**content(run.last), "global_step": 3}, run.last.parent / "step_0000003.ckpt")
    flipped = bytearray(whole)
    with zipfile.ZipFile(run.last) as file:
        largest = max(file.infolist(), key=lambda entry: entry.file_size)
    flipped[largest.header_offset + largest.file_size] ^= 1
    for torn in (whole[: len(whole) // 2], b"", bytes(flipped)):
        run.last.write_bytes(torn)
        run.best.write_bytes(b"")
        (run.last.parent / "last.ckpt.tmp").write_bytes(b"half")
        caplog.clear()
        done("fit", "--resume", run.folder)
        assert "torn, and passed over: best.ckpt, last.ckpt" in caplog.text
        assert not list(run.folder.glob("checkpoints/*.tmp"))


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--resume", "gone"], "--resume gone: there is no such folder"),
        (["--resume", "."], "there is no whole checkpoint"),
        (["--resume", ".", "--run", "."], "--resume goes on in the folder of a run, and --run does something else"),
        (["--resume", "x/checkpoints/last.ckpt"], "is a file, and takes the folder of a run: x, say"),
    ],
)
def test_what_cannot_be_resumed_is_said(
    args: list[object], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x/checkpoints").mkdir(parents=True)
    (tmp_path / "x/checkpoints/last.ckpt").write_bytes(b"")
    result = command("fit", *args)
    assert result.code == 2
    assert said in result.err


def test_ranks_that_found_different_checkpoints_do_not_train(tmp_path: Path) -> None:
    trainer = toy_trainer(tmp_path, enable_checkpointing=True, callbacks=[Evaluation(), BestAndLast()])
    trainer.strategy.broadcast = lambda own, src=0: ("last.ckpt", 7)  # type: ignore[method-assign]
    with pytest.raises(UserError, match=r"rank 0 goes on from None at step 0, but .* last\.ckpt at step 7"):
        trainer.fit(ToyModule(), datamodule=ToyData())
