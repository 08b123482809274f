"""Law 21: every shipped configuration parses, builds and runs, and what it saves repeats the run."""

import csv
from pathlib import Path

import pytest

from s2s_lightning.__main__ import main

CONFIGS = sorted([*Path("configs").glob("*.yaml"), *Path("configs/recipes").glob("*.yaml")])

SHORT = """
data:
  corpus:
    class_path: Generated
    init_args: {task: reverse, max_length: 5, train_pairs: 300, val_pairs: 8, test_pairs: 8}
trainer: {max_steps: 2, check_val_every_n_epoch: 1, accelerator: cpu}
attention: {num_items: 1}
"""


def fit(folder: Path, *configs: Path) -> Path:
    """Train in a folder, and find the run in it."""
    main(["fit", *(f"--config={config}" for config in configs), f"--trainer.default_root_dir={folder}"])
    (run,) = folder.glob("*/[0-9]*")
    return run


def val_loss(run: Path) -> str:
    """The last, with all its digits."""
    with (run / "metrics.csv").open() as file:
        return [row["val/loss"] for row in csv.DictReader(file) if row["val/loss"]][-1]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_a_configuration_runs_and_its_saved_one_repeats_the_run(config: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.yaml"
    short.write_text(SHORT)
    run = fit(tmp_path / "first", config, short)
    assert val_loss(fit(tmp_path / "again", run / "config.yaml")) == val_loss(run)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_a_configuration_is_short(config: Path) -> None:
    assert len(config.read_text().splitlines()) <= 25
