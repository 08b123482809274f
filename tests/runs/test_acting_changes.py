"""Law 32: each option that docs/cluster/resuming.md says acts on resume acts."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from s2s_lightning.training.module import decay_groups
from s2s_lightning.training.optimizer_state import keep_names
from tests.cli.conftest import command
from tests.runs.runs import fit, result, typed

MORE = ("--trainer.max_steps", 4)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("acting") / "run"
    fit(folder, "--trainer.max_steps", 2)
    return folder


def resumed(run: Path, folder: Path, *args: object) -> dict[str, Any]:
    """What a copy of the run comes to when it goes on so."""
    shutil.copytree(run, folder)
    done = command(*typed(folder, *MORE, *args))
    assert done.code == 0, done.err
    return result(folder)


@pytest.mark.parametrize(
    "change",
    [
        ["--optimizer.weight_decay", 0],
        ["--optimizer.amsgrad", "true"],
        ["--optimizer.betas", "[0.8, 0.9]", "--optimizer.eps", 1e-6],
        ["--trainer.callbacks+=Freeze", "--trainer.callbacks.patterns=encoder.*"],
        ["--trainer.callbacks", "[]"],
        ["--schedule", "WarmupCosine", "--schedule.warmup_steps", 1],
        ["--objective.label_smoothing", 0.2],
        ["--objective", "RDrop"],
        ["--drop_tokens.src_word", 0.3],
        ["--trainer.precision", "bf16-mixed"],
        ["--trainer.gradient_clip_val", 0.1],
        ["--data.num_workers", 1],
        ["--patience", 2],
        ["--trainer.val_check_interval", 2],
        ["--checkpoint.monitor", "val/bleu", "--checkpoint.keep_last", 2],
        ["--trainer.logger", "false"],
    ],
    ids=lambda change: " ".join(map(str, change)),
)
def test_what_may_change_acts(change: list[object], run: Path, tmp_path: Path) -> None:
    assert resumed(run, tmp_path / "run", *change)["global_step"] == 4


def test_parts_are_frozen_and_set_free_in_the_middle_of_a_run(run: Path, tmp_path: Path) -> None:
    freeze = ["--trainer.callbacks+=Freeze", "--trainer.callbacks.patterns=encoder.*"]
    before = result(run)["current_model_state"]
    frozen = resumed(run, tmp_path / "frozen", *freeze)["current_model_state"]
    free = resumed(tmp_path / "frozen", tmp_path / "free", "--trainer.max_steps", 6)["current_model_state"]
    encoder = [name for name in before if ".encoder." in name]
    assert all(torch.equal(before[name], frozen[name]) for name in encoder)
    assert any(not torch.equal(frozen[name], free[name]) for name in encoder)
    assert any(not torch.equal(before[name], frozen[name]) for name in before if name not in encoder)


def test_without_its_moving_average_a_run_goes_on_with_the_weights_themselves(run: Path, tmp_path: Path) -> None:
    found = resumed(run, tmp_path / "run", "--trainer.callbacks", "[]", "--optimizer.lr", 1e-30)
    before = result(run)
    assert all(torch.equal(x, before["current_model_state"][name]) for name, x in found["state_dict"].items())


def test_a_run_that_goes_on_as_it_was_says_no_change(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(run, tmp_path / "run")
    assert command("fit", "--resume", tmp_path / "run", *MORE).code == 0
    assert [line for line in caplog.messages if "changed" in line] == ["changed: trainer.max_steps: 2 -> 4"]


def test_the_learning_rate_is_said_before_and_after(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    linear = ["--schedule", "Linear", "--schedule.warmup_steps", 0]
    fit(tmp_path / "run", "--trainer.max_steps", 4, *linear)
    fit(tmp_path / "run", "--trainer.max_steps", 8, *linear)
    assert "learning rate at step 4: 0 -> 0.005" in caplog.messages
    caplog.clear()
    fit(tmp_path / "run", "--trainer.max_steps", 8, *linear, "--trainer.log_every_n_steps", 3)
    assert not [line for line in caplog.messages if "learning rate at" in line]


class Small(nn.Module):
    """A matrix and vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(3)
        self.linear = nn.Linear(3, 2)


def stepped(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    torch.manual_seed(0)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()


def test_moments_follow_their_parameters_into_other_groups() -> None:
    model = Small()
    grouped = torch.optim.AdamW(decay_groups(model), lr=0.1)
    keep_names(grouped, model, torch.optim.AdamW)
    stepped(model, grouped)
    plain = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.0)
    keep_names(plain, model, torch.optim.AdamW)
    for state in (grouped.state_dict(), {k: v for k, v in grouped.state_dict().items() if k != "names"}):
        plain.load_state_dict(state)
        for parameter in model.parameters():
            assert torch.equal(plain.state[parameter]["exp_avg"], grouped.state[parameter]["exp_avg"])
    assert [group["weight_decay"] for group in plain.param_groups] == [0.0]


def test_what_an_option_needs_begins_from_zero() -> None:
    model = Small()
    before = torch.optim.Adam(model.parameters(), lr=0.1)
    keep_names(before, model, torch.optim.Adam)
    stepped(model, before)
    after = torch.optim.Adam(model.parameters(), lr=0.1, amsgrad=True)
    keep_names(after, model, lambda parameters: torch.optim.Adam(parameters, amsgrad=True))
    after.load_state_dict(before.state_dict())
    assert all(not after.state[parameter]["max_exp_avg_sq"].any() for parameter in model.parameters())
    stepped(model, after)
