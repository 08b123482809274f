"""Real trainings from several seeds."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from s2s_lightning.cli.fit import CLI
from tests.cli.conftest import Run, done, fitted
from tests.tracking.wandb_file import read

FOLDER = Path("runs/seeds/tiny")


def weights(run: Run) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(run.last, weights_only=True)["state_dict"]
    return state


def scores(path: Path) -> dict[str, Any]:
    return {name: each["value"] for name, each in json.loads(path.read_text())["scores"].items()}


def test_a_seed_is_the_training_with_that_seed(
    config: Path, trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    command = ("fit", "--config", config, "--seeds", 2)
    out = done(*command).out
    seed = Run(FOLDER / "seed_2")

    alone = fitted(tmp_path / "alone", "--config", config, "--seed_everything", 2)
    expected, found, other = weights(alone), weights(seed), weights(trained)  # the latter's seed is 1
    assert all(torch.equal(found[name], each) for name, each in expected.items())
    assert not all(torch.equal(other[name], each) for name, each in expected.items())

    done("test", "--ckpt_path", alone.best, "--trainer.default_root_dir", tmp_path / "tested")
    (tested,) = (tmp_path / "tested").glob("*/*_test")
    assert scores(seed.folder / "test_scores.json") == scores(tested / "test_scores.json")
    assert (seed.folder / "predictions.txt").read_text() == (tested / "predictions.txt").read_text()

    with (FOLDER / "table.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    best = torch.load(seed.best, weights_only=True)["callbacks"]["BestAndLast"]["best_model_score"]
    assert float(row["val/loss"]) == best.item()
    assert float(row["test/loss"]) == scores(seed.folder / "test_scores.json")["loss"]

    begun = sorted((seed.folder / "wandb").glob("offline-run-*/*.wandb"))[0]
    assert read(begun).run.run_group == "tiny"

    words = next(line for line in out.splitlines() if " compare " in line).replace("'", "").split()
    assert done(*words[3:], "--metrics", "bleu").out
    assert "begins" not in done(*command).out


@pytest.mark.parametrize(
    ("given", "expected"), [([], 7), (["--data.seed", "3"], 3), (["--seed_everything", "false"], 1)]
)
def test_the_order_of_data_follows_the_seed_unless_it_has_its_own(
    given: list[str], expected: int, config: Path, tmp_path: Path
) -> None:
    options = [f"--config={config}", f"--trainer.default_root_dir={tmp_path}", "--seed_everything", "7", *given]
    assert CLI("fit", options).datamodule.seed == expected
