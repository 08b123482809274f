"""Law 16: stopped anywhere and resumed = never stopped, to the bit: weights, averages, optimizer, schedule, logs.

In one process; what a stop leaves on the disk is that of a kill, and more. Real kills are in test_killed.py.
"""

from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.runs.runs import Stop, differences, fit, result

EVERY = ("--checkpoint.every_steps", 1)
SETTINGS: dict[str, tuple[object, ...]] = {
    "steps": EVERY,
    "a validation within a window": ("--trainer.val_check_interval", 3, "--trainer.max_steps", 6),
    "epochs": (
        *("--trainer.max_steps", -1, "--trainer.max_epochs", 2, "--schedule", "Plateau", "--schedule.patience", 0),
        *("--optimizer.lr", 0.3, "--patience", 2, "--checkpoint.keep_last", 1, *EVERY),
    ),
    "validation over epochs": (
        *("--trainer.check_val_every_n_epoch", "null", "--trainer.val_check_interval", 5, "--trainer.max_steps", 6),
        *EVERY,
    ),
    "workers, other pieces in each epoch": (
        *("--data.num_workers", 2, "--data.tokenizer", "BPE", "--data.tokenizer.vocab_size", 280),
        *("--data.tokenizer.dropout", 0.3, "--trainer.max_steps", 6, *EVERY),
    ),
}
"""Of an epoch of 7 micro-batches in windows of 2, the last of 1."""


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Any:
    @cache
    def run(setting: str) -> dict[str, Any]:
        folder = tmp_path_factory.mktemp("straight") / "run"
        fit(folder, *SETTINGS[setting])
        return result(folder)

    return run


@pytest.mark.parametrize(
    ("setting", "at"),
    [
        ("steps", ("on_train_batch_end", 12, "stop")),  # within a window
        ("steps", ("on_train_batch_start", 8, "stop")),  # at the beginning of an epoch
        ("steps", ("on_validation_batch_end", 3, "stop")),  # within a validation
        ("steps", ("on_train_batch_start", 18, "interrupt")),  # before a step that is logged
        ("a validation within a window", ("on_train_batch_end", 4, "stop")),
        ("epochs", ("on_validation_start", 2, "stop")),
        ("epochs", ("on_train_epoch_end", 1, "stop")),
        ("epochs", ("writing", 7, "stop")),
        ("validation over epochs", ("on_train_batch_end", 9, "stop")),
        ("workers, other pieces in each epoch", ("on_train_batch_end", 10, "stop")),
    ],
)
def test_a_run_that_was_stopped_ends_like_one_that_never_was(
    setting: str, at: Stop, straight: Any, tmp_path: Path
) -> None:
    fit(tmp_path / "run", *SETTINGS[setting], at=at)
    stopped = result(tmp_path / "run")
    fit(tmp_path / "run", *SETTINGS[setting])
    assert list(differences(straight(setting), stopped))
    assert list(differences(straight(setting), result(tmp_path / "run"))) == []
    assert not list(tmp_path.glob("run/**/*.tmp"))


@pytest.mark.parametrize("first", [4, 5])
def test_a_run_whose_end_was_put_off_has_the_weights_of_one_that_always_had_it(first: int, tmp_path: Path) -> None:
    """Ended with an epoch of 4 steps or within one; without a validation, whose checkpoint would be made earlier."""
    never = ("--trainer.limit_val_batches", 0)
    fit(tmp_path / "straight", *never, "--trainer.max_steps", 6)
    for steps in (first, 6):
        fit(tmp_path / "run", *never, "--trainer.max_steps", steps)
    straight, run = result(tmp_path / "straight"), result(tmp_path / "run")
    assert list(differences(straight["state_dict"], run["state_dict"])) == []
    assert list(differences(straight["optimizer_states"], run["optimizer_states"])) == []
