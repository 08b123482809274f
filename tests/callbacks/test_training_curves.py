"""The picture of a run, and the numbers behind its lines."""

from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger
from PIL import Image

from s2s_lightning.callbacks import Evaluation, Throughput, TrainingCurves
from s2s_lightning.callbacks.reports import training_curves
from tests.callbacks.test_throughput import Recorded
from tests.helpers.toy import ToyData, ToyModule, toy_trainer


def fit(folder: Path, **options: Any) -> tuple[Trainer, Recorded]:
    """Ten steps, or as the options say; what a second logger was given."""
    recorded = Recorded(folder / "other")
    loggers = [CSVLogger(folder, name="", version=""), recorded]
    callbacks = [Evaluation(), Throughput(), TrainingCurves()]
    trainer = toy_trainer(folder, logger=loggers, callbacks=callbacks, **{"log_every_n_steps": 2, **options})
    trainer.fit(ToyModule(), datamodule=ToyData())
    return trainer, recorded


def test_its_lines_are_what_was_logged(tmp_path: Path) -> None:
    _, recorded = fit(tmp_path)
    curves = training_curves.read(tmp_path / "metrics.csv")
    given = {
        (name, row["step"]): value
        for row in recorded.rows
        for name, value in row.items()
        if name not in ("step", "epoch")
    }
    assert {(name, step): value for name, points in curves.items() for step, value in points.items()} == given
    assert {"train/loss", "train/lr", "val/loss", "val/bleu"} <= curves.keys()
    assert len(Image.open(tmp_path / "curves.png").convert("RGB").getcolors(2**24)) > 10


def test_each_metric_stands_in_one_panel_at_most() -> None:
    names = [
        "train/loss",
        "val/loss",
        "val/ppl",
        "val/bleu",
        "val/attention_entropy",
        "train/lr",
        "train/grad_norm",
        "train/tokens_per_second",
    ]
    shown = [sum(training_curves.belongs(name, panel) for panel in training_curves.PANELS) for name in names]
    assert shown == [1, 1, 0, 1, 0, 1, 1, 1]


def test_a_run_of_two_logs_has_no_picture(tmp_path: Path) -> None:
    fit(tmp_path, log_every_n_steps=5)
    assert (tmp_path / "metrics.csv").exists()
    assert not (tmp_path / "curves.png").exists()


def test_a_step_that_was_made_twice_counts_once_and_late(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("epoch,step,train/loss,val/loss\n0,2,3.0,\n0,4,2.0,\n0,4,,1.5\n0,2,3.5,\n")
    assert training_curves.read(tmp_path / "m.csv") == {"train/loss": {2: 3.5, 4: 2.0}, "val/loss": {4: 1.5}}


def test_it_takes_no_more_than_its_share_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []

    def draw(curves: Any, path: Path) -> None:
        path.touch()
        drawn.append(path)
        clock[0] += 10

    clock = [1000.0]
    monkeypatch.setattr(training_curves, "draw", draw)
    monkeypatch.setattr(training_curves.time, "monotonic", lambda: clock[0])
    fit(tmp_path, max_epochs=4)
    assert len(drawn) == 2  # after the first epoch, then at the end
