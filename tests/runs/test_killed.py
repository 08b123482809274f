"""SIGKILL in processes of their own, one and two ranks."""

import signal
from pathlib import Path

from tests.runs.runs import Stop, differences, fit, fit_apart, result

EVERY = ("--checkpoint.every_steps", 1)
KILLS: list[Stop] = [
    ("on_train_batch_start", 6, "kill"),  # within a window of accumulation
    ("writing", 4, "kill"),
    ("on_validation_batch_end", 2, "kill"),
]


def test_a_run_that_was_killed_three_times_ends_like_one_that_never_was(tmp_path: Path) -> None:
    fit(tmp_path / "straight", *EVERY)
    for at in KILLS:
        assert fit_apart(tmp_path / "run", *EVERY, at=at) == -signal.SIGKILL
    fit(tmp_path / "run", *EVERY)
    assert list(differences(result(tmp_path / "straight"), result(tmp_path / "run"))) == []


def test_two_ranks_that_were_killed_end_like_two_that_never_were(tmp_path: Path) -> None:
    both = (*EVERY, "--trainer.devices", 2, "--trainer.strategy", "ddp", "--trainer.max_steps", 5)
    assert fit_apart(tmp_path / "straight", *both) == 0
    assert fit_apart(tmp_path / "run", *both, at=("on_train_batch_end", 6, "kill")) == -signal.SIGKILL
    assert fit_apart(tmp_path / "run", *both) == 0
    assert list(differences(result(tmp_path / "straight"), result(tmp_path / "run"))) == []
