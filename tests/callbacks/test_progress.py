"""What the terminal shows."""

import io
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from s2s_lightning.callbacks import DEFAULT_CALLBACKS, Evaluation, NextSteps, Progress, Summary, Throughput
from s2s_lightning.callbacks.reports.progress import planned_steps
from s2s_lightning.callbacks.reports.summary import parameters_by_part
from tests.helpers.toy import ToyData, ToyModule, toy_network, toy_trainer


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def fit(folder: Path, callbacks: list[object], **options: object) -> None:
    quick = {"log_every_n_steps": 1, "enable_progress_bar": True, "num_sanity_val_steps": 1}
    trainer = toy_trainer(folder, callbacks=callbacks, max_epochs=2, **{**quick, **options})
    trainer.fit(ToyModule(), datamodule=ToyData())


def test_the_bar_shows_loss_speed_and_the_validation_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    fit(tmp_path, [Evaluation(), Throughput(), Progress()])
    last = screen.getvalue().strip().split("\r")[-1]
    assert re.search(r"epoch 2/2 +20/20 +\|.*, loss \d.\d+ +[\d.]+k tokens/s +val/loss \d.\d+", last)
    assert "v_num" not in screen.getvalue()
    assert "validation" in screen.getvalue()


def test_without_a_terminal_there_is_a_line_a_validation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(tmp_path, [Evaluation(), Throughput(), Progress()])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert len(lines) == 2
    assert all("validation:  loss" in line for line in lines)
    assert "\r" not in "".join(lines)


def test_without_a_terminal_training_says_something_now_and_then(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(tmp_path, [Throughput(), Progress(line_seconds=0.0)], limit_val_batches=0)
    lines = [line for line in capsys.readouterr().out.splitlines() if "tokens/s" in line]
    assert len(lines) == 20


@pytest.mark.parametrize(
    ("max_epochs", "max_steps", "steps"), [(3, -1, 12), (-1, 5, 5), (1, 5, 4), (2, 5, 5), (-1, -1, None)]
)
def test_the_bar_knows_where_the_run_ends(max_epochs: int, max_steps: int, steps: int | None) -> None:
    trainer = SimpleNamespace(
        num_training_batches=10, accumulate_grad_batches=3, max_epochs=max_epochs, max_steps=max_steps
    )
    assert planned_steps(trainer) == steps


def test_parameters_are_counted_once_each() -> None:
    model = toy_network()
    parts = parameters_by_part(model)
    assert sum(parts.values()) == sum(p.numel() for p in model.parameters())
    assert parts["readout"] == model.readout.bias.numel()


def test_the_summary_has_data_and_parameters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toy_trainer(tmp_path, callbacks=[Summary()]).fit(ToyModule(), datamodule=ToyData())
    out = capsys.readouterr().out
    assert re.search(r"training pairs +10", out)
    assert re.search(r"parameters +\d+: .*decoder 78, readout 12", out)


def test_the_end_of_fit_says_what_to_type(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from lightning.pytorch.callbacks import ModelCheckpoint

    keeper = ModelCheckpoint(tmp_path, "best", monitor="val/loss", save_last=True)
    callbacks = [Evaluation(), NextSteps(), keeper]
    toy_trainer(tmp_path, callbacks=callbacks, enable_checkpointing=True).fit(ToyModule(), datamodule=ToyData())
    out = capsys.readouterr().out
    best, score = re.search(r"best checkpoint  (\S+)  \(val/loss (\S+)\)", out).groups()
    assert Path(best).is_file()
    assert float(score) == pytest.approx(keeper.best_model_score.item(), rel=1e-3)
    for command in ("generate", "test --ckpt_path"):
        assert f"python -m s2s_lightning {command} {best}" in out
    assert re.search(r"fit --resume \S+ --trainer.max_epochs 2\n", out)


def test_all_the_default_callbacks_work_together(tmp_path: Path) -> None:
    fit(tmp_path, [make() for make in DEFAULT_CALLBACKS.values()])
    assert {"attention.png", "samples.md", "samples.jsonl", "val_scores.json"} <= {p.name for p in tmp_path.iterdir()}
