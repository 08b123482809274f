"""Law 31: a run's folder that was copied or moved is complete and its own."""

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch

from s2s_lightning.tracking import copied_from
from tests.cli.conftest import CONFIG, done

ONCE = ["--trainer.check_val_every_n_epoch", 50]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is copied after four steps, and then trains on; its configuration lies beside it."""
    root = tmp_path_factory.mktemp("copied")
    (root / "tiny.yaml").write_text(CONFIG)
    done("fit", "--config", root / "tiny.yaml", "--run", root / "a", *ONCE)
    shutil.copytree(root / "a", root / "b")
    done("fit", "--resume", root / "a", "--trainer.max_steps", 40)
    return root / "a"


def best(folder: Path) -> tuple[int, str]:
    """The step of the best checkpoint, and the path that the last one has of it."""
    checkpoints = folder / "checkpoints"
    stored = torch.load(checkpoints / "last.ckpt", weights_only=True)["callbacks"]["BestAndLast"]["best_model_path"]
    return torch.load(checkpoints / "best.ckpt", weights_only=True)["global_step"], stored


def test_a_copy_tests_and_keeps_its_own_best_checkpoint(run: Path) -> None:
    copy = run.with_name("b")
    done("fit", "--resume", copy, "--trainer.max_steps", 5, "--optimizer.lr", 1e-9, "--test_best", "true")
    step, stored = best(copy)
    assert stored == str(copy / "checkpoints/best.ckpt")
    assert step in (4, 5)
    assert best(run) == (40, str(run / "checkpoints/best.ckpt"))
    assert json.loads((copy / "test_scores.json").read_text())["step"] == step
    with (copy / "metrics.csv").open(newline="") as file:
        assert [int(row["step"]) for row in csv.DictReader(file) if row.get("test/loss")] == [step]


def test_a_moved_folder_goes_on_with_its_best_checkpoint(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "moved")  # the path in it is that of a folder which is still there
    done("fit", "--resume", tmp_path / "moved", "--trainer.max_steps", 41, "--optimizer.lr", 1e-9)
    assert best(tmp_path / "moved")[1] == str(tmp_path / "moved/checkpoints/best.ckpt")


def test_a_copy_is_told_from_a_folder_that_was_moved(run: Path, tmp_path: Path) -> None:
    checkpoint = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    assert copied_from(checkpoint, run) is None
    assert copied_from(checkpoint, tmp_path / "other") == run
    checkpoint["s2s_lightning_folder"] = str(tmp_path / "gone")
    assert copied_from(checkpoint, tmp_path / "other") is None


def test_a_test_goes_beside_its_run_by_the_name_of_its_folder(run: Path, tmp_path: Path) -> None:
    root = ["--trainer.default_root_dir", tmp_path]
    done("test", "--ckpt_path", run / "checkpoints/best.ckpt", *root)
    (folder,) = (tmp_path / "a").iterdir()
    assert json.loads((folder / "test_scores.json").read_text())["step"] == 40
