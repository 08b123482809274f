"""Steps that float16's scaler skips are counted, and are steps all the same."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins import MixedPrecision

from s2s_lightning.callbacks import NonFinite, Progress
from s2s_lightning.callbacks.diagnostics.skipped_steps import SkippedSteps
from s2s_lightning.training.schedules import Linear
from tests.helpers.toy import ToyData, ToyModule, toy_trainer

STEPS = 10


class Watch(Callback):
    """After each step the loss scale, whether the weights have moved, and what is logged."""

    def __init__(self) -> None:
        self.scales: list[float] = []
        self.moved: list[bool] = []
        self.logged: list[float] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.weights = pl_module.model.readout.weight.clone()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        before, self.weights = self.weights, pl_module.model.readout.weight.clone()
        self.moved.append(not torch.equal(before, self.weights))
        self.scales.append(trainer.precision_plugin.scaler.get_scale())
        self.logged.append(trainer.callback_metrics["train/skipped_steps"].item())


def fit(folder: Path, init_scale: float, *callbacks: Callback) -> tuple[Trainer, Watch]:
    """By a real scaler, on the CPU."""
    watch, module = Watch(), ToyModule().float()
    module.schedule = Linear(warmup_steps=0)
    plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=init_scale))
    options = {"log_every_n_steps": 1, "max_steps": STEPS, "limit_val_batches": 0, "enable_progress_bar": True}
    chain = [Progress(), *callbacks, watch]
    trainer = toy_trainer(folder, plugins=[plugin], callbacks=chain, gradient_clip_val=1.0, **options)
    trainer.fit(module, datamodule=ToyData())
    return trainer, watch


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_each_skipped_step_is_counted_and_moves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps = SkippedSteps()
    trainer, watch = fit(tmp_path, 2.0**20, NonFinite(), steps)
    halved = [scale < before for before, scale in zip([2.0**20, *watch.scales], watch.scales, strict=False)]
    assert watch.moved == [not skipped for skipped in halved]
    assert watch.logged == [sum(halved[: step + 1]) for step in range(STEPS)]
    assert 0 < steps.skipped == sum(halved) < STEPS
    assert f"{steps.skipped} of {STEPS} steps were skipped" in capsys.readouterr().out
    assert trainer.global_step == STEPS
    assert trainer.lr_scheduler_configs[0].scheduler.last_epoch == STEPS


def test_without_an_overflow_none_is_skipped_and_nothing_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, watch = fit(tmp_path, 1.0, SkippedSteps())
    assert all(watch.moved)
    assert watch.logged == [0] * STEPS
    assert "skipped" not in capsys.readouterr().out


def test_a_resumed_run_counts_on() -> None:
    first, then = SkippedSteps(), SkippedSteps()
    first._tried, first._made = 7, 4
    then.load_state_dict(first.state_dict())
    assert then.skipped == 3


def test_without_a_scaler_there_is_nothing_to_count(tmp_path: Path) -> None:
    trainer = toy_trainer(tmp_path, callbacks=[SkippedSteps()], log_every_n_steps=1, limit_val_batches=0)
    trainer.fit(ToyModule(), datamodule=ToyData())
    assert "train/skipped_steps" not in trainer.callback_metrics
