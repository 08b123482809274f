"""A run is judged where it ends, whatever ends it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from s2s_lightning.callbacks import Evaluation
from s2s_lightning.callbacks.checkpointing.checkpoints import BestAndLast
from s2s_lightning.callbacks.checkpointing.end_of_run import ValidateAtEnd
from tests.helpers.toy import ToyData, ToyModule, toy_trainer
from tests.runs.runs import StopAt, Stopped


class Validations(Callback):
    """The optimizer steps before each validation."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.steps.append(trainer.global_step)


class StopAfter(Callback):
    """Ends the run after so many steps."""

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        trainer.should_stop = trainer.global_step == 14


def fit(folder: Path, *callbacks: Callback, **options: Any) -> tuple[list[int], BestAndLast]:
    """Epochs have 10 steps. Steps of validations, and what keeps the checkpoints."""
    seen, path = Validations(), options.pop("ckpt_path", None)
    checkpoints = BestAndLast(every_steps=options.pop("every_steps", None))
    settings = {"enable_checkpointing": True, "max_epochs": -1, **options}
    every = [ValidateAtEnd(), Evaluation(), seen, *callbacks, checkpoints]
    trainer = toy_trainer(folder, callbacks=every, **settings)
    trainer.fit(ToyModule(), datamodule=ToyData(), ckpt_path=path, weights_only=True)
    return seen.steps, checkpoints


@pytest.mark.parametrize(
    ("ends", "steps"),
    [
        ({"max_steps": 14}, [10, 14]),
        ({"max_steps": 20}, [10, 20]),
        ({"max_steps": 14, "check_val_every_n_epoch": 3}, [14]),
        ({"max_epochs": 4, "check_val_every_n_epoch": 3}, [30, 40]),
        ({"max_epochs": 2, "check_val_every_n_epoch": None, "val_check_interval": 8}, [8, 16, 20]),
        ({"max_epochs": 2, "val_check_interval": 0.4}, [4, 8, 14, 18, 20]),
        ({"max_epochs": 3, "check_val_every_n_epoch": 3, "callbacks": [StopAfter()]}, [14]),
        ({"max_epochs": 2, "check_val_every_n_epoch": 3, "limit_val_batches": 0}, []),
    ],
    ids=lambda value: str(value).split(" object at ")[0],
)
def test_the_last_step_is_validated_once_and_may_be_the_best(
    ends: dict[str, Any], steps: list[int], tmp_path: Path
) -> None:
    validated, checkpoints = fit(tmp_path, *ends.pop("callbacks", []), **ends)
    assert validated == steps
    if steps:
        best = torch.load(checkpoints.best_model_path, weights_only=True)
        assert best["global_step"] == steps[-1]  # an untrained network improves all the time


def test_a_validation_at_the_end_that_was_cut_short_is_made_on_resume(tmp_path: Path) -> None:
    ends = {"max_epochs": 2, "check_val_every_n_epoch": 3}
    with pytest.raises(Stopped):
        fit(tmp_path, StopAt("on_validation_batch_end", 2), every_steps=1, **ends)
    last = tmp_path / "checkpoints/last.ckpt"
    assert fit(tmp_path, **ends, ckpt_path=last)[0] == [20]
    assert fit(tmp_path, **ends, ckpt_path=last)[0] == []
