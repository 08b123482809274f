"""The average of the weights: what it is, who uses it, and that a resumed run goes on with it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor

from s2s_lightning.callbacks import EMA, Evaluation
from s2s_lightning.callbacks.checkpointing.checkpoints import BestAndLast
from s2s_lightning.errors import UserError
from tests.helpers.toy import ToyData, ToyModule, toy_trainer


def flat(parameters: Any) -> Tensor:
    return torch.cat([p.detach().flatten().clone() for p in parameters])


class Watch(Callback):
    """The weights after each step, and as validation's last hook before the checkpoints sees them."""

    def __init__(self) -> None:
        self.steps: list[Tensor] = []
        self.drawn: list[Tensor] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *rest: Any) -> None:
        self.steps.append(flat(pl_module.parameters()))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        self.drawn.append(flat(pl_module.parameters()))


def fit(folder: Path, watch: Watch, epochs: int, resume_from: Path | None = None, decay: float = 0.8) -> ToyModule:
    module = ToyModule()
    module.optimizer = lambda groups: torch.optim.Adam(groups, lr=0.05)
    folder.mkdir()
    callbacks = [EMA(decay=decay), Evaluation(), watch, BestAndLast()]
    trainer = toy_trainer(folder, max_epochs=epochs, callbacks=callbacks, enable_checkpointing=True)
    trainer.fit(module, datamodule=ToyData(), ckpt_path=resume_from, weights_only=True)
    return module


def average(steps: list[Tensor], decay: float = 0.8) -> Tensor:
    """By the formula."""
    total = steps[0]
    for t, weights in enumerate(steps[1:], 1):
        d = min(decay, (1 + t) / (10 + t))
        total = d * total + (1 - d) * weights
    return total


def test_validation_its_pictures_and_the_module_in_the_end_have_the_average(tmp_path: Path) -> None:
    watch = Watch()
    module = fit(tmp_path / "run", watch, 2)
    half = len(watch.steps) // 2
    for found, steps in zip(watch.drawn, (watch.steps[:half], watch.steps), strict=True):
        torch.testing.assert_close(found, average(steps), rtol=0, atol=1e-12)
    torch.testing.assert_close(flat(module.parameters()), average(watch.steps), rtol=0, atol=1e-12)
    assert not torch.allclose(watch.drawn[-1], watch.steps[-1])


@pytest.mark.parametrize("decay", [0.0, 0.2])
def test_the_decay_bounds_how_far_the_average_reaches_back(tmp_path: Path, decay: float) -> None:
    """Above 0.2 the early steps alone look back less: (1 + t) / (10 + t)."""
    watch = Watch()
    module = fit(tmp_path / "run", watch, 1, decay=decay)
    assert len(watch.steps) > 4
    torch.testing.assert_close(flat(module.parameters()), average(watch.steps, decay), rtol=0, atol=1e-12)


def test_a_checkpoint_has_the_average_as_its_weights_and_the_weights_beside_it(tmp_path: Path) -> None:
    watch = Watch()
    fit(tmp_path / "run", watch, 2)
    checkpoint = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    names = [name for name, _ in ToyModule().named_parameters()]
    of = {key: flat(checkpoint[key][name] for name in names) for key in ("state_dict", "current_model_state")}
    torch.testing.assert_close(of["state_dict"], average(watch.steps), rtol=0, atol=1e-12)
    assert torch.equal(of["current_model_state"], watch.steps[-1])


def test_a_resumed_run_ends_like_one_that_never_stopped(tmp_path: Path) -> None:
    straight, first, second = Watch(), Watch(), Watch()
    expected = fit(tmp_path / "straight", straight, 3)
    fit(tmp_path / "first", first, 1)
    resumed = fit(tmp_path / "second", second, 3, tmp_path / "first/checkpoints/last.ckpt")
    assert torch.equal(flat(resumed.parameters()), flat(expected.parameters()))
    assert torch.equal(second.steps[-1], straight.steps[-1])


def test_a_decay_of_one_is_refused() -> None:
    with pytest.raises(UserError, match="decay=1"):
        EMA(decay=1.0)
