"""A run resumed at the boundary of an epoch goes on as if it had never stopped."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping

from s2s_lightning.callbacks import Evaluation
from s2s_lightning.callbacks.checkpointing.checkpoints import BestAndLast
from s2s_lightning.training.schedules import Plateau
from tests.helpers.toy import ToyData, ToyModule, toy_trainer

STEPS = 10
"""Of an epoch of ToyData."""


def fit(folder: Path, resume_from: Path | None = None, **limits: int) -> Trainer:
    """Without learning no validation improves on the first: the rate falls each two epochs, and the sixth stops."""
    module = ToyModule()
    module.optimizer = lambda groups: torch.optim.SGD(groups, lr=1.0)
    module.schedule = Plateau(factor=0.1, patience=1)
    callbacks = [Evaluation(), BestAndLast(), EarlyStopping("val/loss", patience=5, strict=False)]
    options: dict[str, Any] = {"enable_checkpointing": True, "gradient_clip_val": 1e-30, "callbacks": callbacks}
    folder.mkdir()
    trainer = toy_trainer(folder, **{**options, **limits})
    trainer.fit(module, datamodule=ToyData(), ckpt_path=resume_from, weights_only=False)
    return trainer


def state(trainer: Trainer) -> dict[str, Any]:
    """What follows the metric, and where the run stopped."""
    (config,), (stopping,) = trainer.lr_scheduler_configs, trainer.early_stopping_callbacks
    (group,) = trainer.optimizers[0].param_groups
    scheduler, wait = config.scheduler.state_dict(), stopping.state_dict()
    return {"step": trainer.global_step, "rate": group["lr"], "scheduler": scheduler, "wait": wait}


@pytest.mark.parametrize("epochs", [2, 3])
@pytest.mark.parametrize("in_steps", [False, True])
def test_a_run_resumed_after_an_epoch_ends_like_one_that_never_stopped(
    tmp_path: Path, epochs: int, in_steps: bool
) -> None:
    def limits(count: int) -> dict[str, int]:
        return {"max_steps": STEPS * count, "max_epochs": -1} if in_steps else {"max_epochs": count}

    straight = state(fit(tmp_path / "straight", **limits(9)))
    fit(tmp_path / "first", **limits(epochs))
    resumed = state(fit(tmp_path / "resumed", tmp_path / "first/checkpoints/last.ckpt", **limits(9)))
    assert straight["step"] == 6 * STEPS
    assert straight["rate"] < 1
    assert resumed == straight


def test_a_checkpoint_holds_what_the_end_of_its_epoch_makes_of_the_run(tmp_path: Path) -> None:
    end = state(fit(tmp_path / "run", max_epochs=3))
    saved = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=False)
    assert saved["lr_schedulers"] == [end["scheduler"]]
    assert saved["optimizer_states"][0]["param_groups"][0]["lr"] == end["rate"] == pytest.approx(0.1)


def test_a_checkpoint_between_two_validations_has_no_score(tmp_path: Path) -> None:
    fit(tmp_path / "run", max_steps=STEPS + 3, max_epochs=-1)
    found = {
        name: torch.load(tmp_path / f"run/checkpoints/{name}.ckpt", weights_only=False) for name in ("best", "last")
    }
    assert {name: content["global_step"] for name, content in found.items()} == {"best": STEPS, "last": STEPS + 3}
    assert found["best"]["callbacks"]["BestAndLast"]["score"] is not None
    assert found["last"]["callbacks"]["BestAndLast"]["score"] is None
