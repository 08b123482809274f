"""Ratios of updates to weights, against weights copied by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from PIL import Image

from s2s_lightning.callbacks import EMA, Freeze, UpdateRatio
from s2s_lightning.runs.trainer_queries import network
from tests.callbacks.test_throughput import Recorded
from tests.helpers.toy import ToyData, ToyModule, toy_trainer

MATRICES = {"embeddings": ["src_embedding.weight", "tgt_embedding.weight"], "decoder": ["decoder.mix.weight"]}
"""Of the toy network, whose readout shares the target embedding and whose encoder has vectors alone."""


class Copies(Callback):
    """The weights after each optimizer step, the first ones first."""

    def __init__(self) -> None:
        self.weights: list[dict[str, torch.Tensor]] = []

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._copy(pl_module)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        if trainer.global_step == len(self.weights):
            self._copy(pl_module)

    def _copy(self, pl_module: Any) -> None:
        self.weights.append({name: p.detach().clone() for name, p in network(pl_module).named_parameters()})

    def ratio(self, part: str, step: int) -> float:
        before, after = (
            torch.cat([self.weights[i][name].flatten() for name in MATRICES[part]]) for i in (step - 1, step)
        )
        return ((after - before).norm() / before.norm()).item()


def run(folder: Path, *callbacks: Callback, fused: bool = False, **options: Any) -> tuple[list[dict[str, Any]], Copies]:
    """The logged rows with a ratio, and the weights."""
    logger, copies, module = Recorded(folder), Copies(), ToyModule()
    module.optimizer = lambda groups: torch.optim.AdamW(groups, lr=0.01, weight_decay=0.1, fused=fused)
    options = {"max_epochs": 2, "log_every_n_steps": 3, "gradient_clip_val": 0.5, **options}
    trainer = toy_trainer(folder, callbacks=[UpdateRatio(), copies, *callbacks], logger=logger, **options)
    trainer.fit(module, datamodule=ToyData())
    return [row for row in logger.rows if any(name.startswith("update_ratio/") for name in row)], copies


def assert_right(rows: list[dict[str, Any]], copies: Copies, steps: list[int], parts: set[str]) -> None:
    assert [row["step"] + 1 for row in rows] == steps
    for row, step in zip(rows, steps, strict=True):
        ratios = {n.removeprefix("update_ratio/"): x for n, x in row.items() if n.startswith("update_ratio/")}
        assert ratios == {part: pytest.approx(copies.ratio(part, step), rel=1e-5) for part in parts}
        assert all(value > 0 for value in ratios.values())


@pytest.mark.parametrize("fused", [False, True])
def test_ratios_are_those_of_the_weights_before_and_after_a_logged_step(tmp_path: Path, fused: bool) -> None:
    assert_right(*run(tmp_path, fused=fused), [3, 6, 9, 12, 15, 18], set(MATRICES))
    assert len(np.unique(np.asarray(Image.open(tmp_path / "update_ratio.png")))) > 10


def test_accumulated_batches_are_one_step(tmp_path: Path) -> None:
    assert_right(*run(tmp_path, accumulate_grad_batches=2), [3, 6, 9], set(MATRICES))


def test_averages_and_validations_in_between_change_nothing(tmp_path: Path) -> None:
    rows, copies = run(tmp_path, EMA(0.5), val_check_interval=3)
    assert_right(rows, copies, [3, 6, 9, 12, 15, 18], set(MATRICES))


def test_frozen_parts_have_none(tmp_path: Path) -> None:
    rows, copies = run(tmp_path, Freeze("decoder.*"))
    assert_right(rows, copies, [3, 6, 9, 12, 15, 18], {"embeddings"})


def test_nothing_is_copied_between_two_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clones: list[int] = []
    callback, clone = UpdateRatio(), torch.Tensor.clone

    class Counting(Callback):
        def on_before_optimizer_step(self, trainer: Any, *args: Any) -> None:
            clones.append(trainer.global_step if callback._before else -1)

    assert clone is torch.Tensor.clone
    trainer = toy_trainer(tmp_path, callbacks=[callback, Counting()], log_every_n_steps=4)
    trainer.fit(ToyModule(), datamodule=ToyData())
    assert [step for step in clones if step >= 0] == [3, 7]
