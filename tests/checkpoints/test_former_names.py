"""What was written before the files of the package were moved keeps loading: one table has the former names."""

import importlib
import shutil
from pathlib import Path

import pytest
import torch
import yaml

import s2s_lightning
from s2s_lightning.__main__ import main
from s2s_lightning.trust.former import FORMER
from s2s_lightning.trust.names import full_name

BEFORE = Path(__file__).parent / "before_the_move"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the files of the former run; its checkpoint stands in the folder of a run."""
    shutil.copytree(BEFORE, tmp_path, dirs_exist_ok=True)
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    shutil.copy(tmp_path / "last.ckpt", tmp_path / "run" / "checkpoints")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def former_paths() -> set[str]:
    return {line.split()[-1] for line in (BEFORE / "config.yaml").read_text().splitlines() if "class_path" in line}


def test_the_files_name_classes_by_former_names() -> None:
    moved = [path for path in former_paths() if path.rpartition(".")[0] in FORMER]
    assert len(moved) >= 3


@pytest.mark.parametrize("former", FORMER)
def test_a_former_module_is_the_module_of_today(former: str) -> None:
    assert importlib.import_module(former) is importlib.import_module(FORMER[former])
    assert importlib.import_module(FORMER[former]).__spec__.name == FORMER[former]


def test_a_former_checkpoint_loads_and_writes_what_it_wrote(folder: Path) -> None:
    model = s2s_lightning.load(folder / "last.ckpt")
    outputs = [best[0].text for best in model.search(["red green", "blue"])]
    assert outputs == ["eeeeeeeeeeeeeeeeeeeeeeeeeeeeee", "i<unk>u<unk>oeeeeeeeeeeeeeee"]


def test_a_former_run_resumes_with_its_average_and_its_schedule(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["fit", "--resume", "run", "--trainer.max_steps", "12", "--schedule", "Linear"])
    assert "changed: schedule" not in "".join(capsys.readouterr())
    checkpoint = torch.load(folder / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 12
    assert "current_model_state" in checkpoint  # of the moving average
    assert checkpoint["class_path"] == "s2s_lightning.families.RNN"


def test_a_former_configuration_repeats_the_run_with_the_names_of_today(folder: Path) -> None:
    main(["fit", "--config", "config.yaml", "--run", "again", "--trainer.max_steps", "3"])
    config = yaml.safe_load((folder / "again" / "config.yaml").read_text())
    assert config["schedule"]["class_path"] == "s2s_lightning.training.Linear"
    assert config["evaluation"]["metrics"][0]["class_path"] == "s2s_lightning.evaluation.TER"


def test_the_name_in_a_file_is_the_shortest_public_one() -> None:
    from s2s_lightning.data import Characters
    from s2s_lightning.training.schedules import Linear

    assert full_name(Linear) == "s2s_lightning.training.Linear"
    assert full_name(Characters) == "s2s_lightning.data.Characters"


def test_a_checkpoint_without_lengths_says_what_limits_its_outputs(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint = torch.load(folder / "last.ckpt", weights_only=True)
    data = next(part for part in checkpoint.values() if isinstance(part, dict) and "lengths" in part)
    data["lengths"] = None
    torch.save(checkpoint, folder / "older.ckpt")
    s2s_lightning.load(folder / "last.ckpt")
    assert "keeps no lengths" not in caplog.text
    s2s_lightning.load(folder / "older.ckpt")
    assert "an output has at most min(2 s + 10, 500) tokens" in caplog.text
