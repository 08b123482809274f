"""A run without an account, read back from the file that W&B has written."""

import copy
import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from s2s_lightning.checkpoints.checkpoint import build, read
from s2s_lightning.tracking import Wandb
from tests.cli.conftest import command, fitted
from tests.cli.test_interrupt import PressCtrlC, _restored_signal
from tests.tracking.conftest import BREAK, Offline, heard
from tests.tracking.wandb_file import Recorded, recorded

__all__ = ["_restored_signal"]

STEP = "trainer/global_step"


@pytest.fixture(scope="module")
def run(offline: Offline) -> Recorded:
    return recorded(offline.folder)


def test_one_line_says_that_it_is_offline_and_how_to_upload(offline: Offline, run: Recorded) -> None:
    (line,) = (line for line in offline.printed.splitlines() if "w&b" in line.lower() or "wandb" in line)
    assert "No API key" in line
    assert Path(line.split("wandb sync ")[1]).resolve() == run.folder.resolve()


def test_all_of_its_files_are_in_the_run_folder(offline: Offline, run: Recorded) -> None:
    assert offline.folder in run.folder.parents
    assert yaml.safe_load((offline.folder / "config.yaml").read_text())["trainer"]["max_steps"] == 4
    assert run.run.project == "s2s_lightning"
    assert run.run.display_name == "/".join(offline.folder.parts[-2:])
    assert run.exit_code == 0


def test_the_configuration_is_logged_whole(offline: Offline, run: Recorded) -> None:
    config = yaml.safe_load((offline.folder / "config.yaml").read_text())
    assert {key: run.config[key] for key in config} == config
    assert run.config["model"]["class_path"].endswith("Transformer")
    assert run.config.keys() - config.keys() == {"_wandb", "run", "signatures"}


def test_what_the_run_was_made_of_is_logged(offline: Offline, run: Recorded) -> None:
    folder, logged = offline.folder, run.config["run"]
    checkpoint = read(folder / "checkpoints" / "best.ckpt")
    parameters = logged["parameters"]
    assert parameters["total"] == sum(p.numel() for p in build(checkpoint, folder).parameters())
    assert parameters["total"] == sum(parameters[part] for part in ("embeddings", "encoder", "decoder", "readout"))
    assert logged["hardware"]["processes"] == 1
    assert logged["code"]["torch"] == torch.__version__
    scores = json.loads((folder / "val_scores.json").read_text())["scores"]
    signed = {name: score["signature"] for name, score in scores.items() if score["signature"]}
    assert run.config["signatures"] == signed
    kept = json.loads((folder / "run.json").read_text())
    assert kept.pop("end")["how"] == "finished"
    kept.pop("source", None)  # of a class of the tests' own, where one is in use
    assert kept == {**logged, "signatures": signed}


def test_of_a_checkout_the_commit_is_logged(run: Recorded) -> None:
    git = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    tracked = subprocess.run(["git", "ls-files", "s2s_lightning/tracking"], capture_output=True, text=True, check=False)
    if git.returncode or "facts.py" not in tracked.stdout:
        pytest.skip("no checkout")
    assert run.config["run"]["code"]["commit"] == git.stdout.strip()


def test_history_says_what_metrics_csv_says_at_the_steps_that_were_made(offline: Offline, run: Recorded) -> None:
    rows = list(csv.DictReader((offline.folder / "metrics.csv").open()))
    for key in ("train/loss", "train/padding", "train/peak_memory_gib", "val/loss", "val/bleu"):
        expected = [(int(row["step"]), float(row[key])) for row in rows if row[key]]
        logged = [(row[STEP], row[key]) for row in run.rows(key)]
        assert [step for step, _ in logged] == [2, 4]
        assert logged == expected
    steps = [row[STEP] for row in run.history]
    assert steps == sorted(steps)


def test_pictures_are_not_black(offline: Offline, run: Recorded) -> None:
    rows = run.rows("chart")
    assert [row[STEP] for row in rows] == [2, 4]
    names = [row["chart"]["filenames"][0] for row in rows]
    assert len(set(names)) == 2
    assert set(names) <= set(run.files)
    logged, drawn = (np.asarray(Image.open(path)) for path in (run.file(names[-1]), offline.folder / "chart.png"))
    assert np.array_equal(logged, drawn)
    assert logged[..., :3].max() == 255


def test_tables_are_whole(offline: Offline, run: Recorded) -> None:
    samples = [json.loads(line) for line in (offline.folder / "samples.jsonl").read_text().splitlines()]
    rows = run.rows("samples")
    assert [row[STEP] for row in rows] == [2, 4]
    table = _table(run, rows[-1]["samples"])
    expected = [sample for sample in samples if sample["step"] == 4]
    columns = ("step", "index", "source", "hypothesis", "log_prob")
    assert [[row[column] for column in columns] for row in table] == [
        [sample[column] for column in columns] for sample in expected
    ]
    mixed = _table(run, run.rows("mixed")[-1]["mixed"])
    assert [row["value"] for row in mixed] == [1, None, "f"]


def _table(run: Recorded, entry: Any) -> list[dict[str, Any]]:
    content = json.loads(run.file(entry["path"]).read_text())
    return [dict(zip(content["columns"], row, strict=True)) for row in content["data"]]


def test_a_resumed_run_goes_on_with_the_same_id_and_axis(offline: Offline, tmp_path: Path) -> None:
    first = recorded(offline.folder)
    last = offline.checkpoint
    resumed = recorded(fitted(tmp_path, "--ckpt_path", last, "--trainer.max_steps", 6).folder)
    assert resumed.run.run_id == first.run.run_id
    assert not resumed.run.display_name  # that of the first part stays
    assert [row[STEP] for row in resumed.rows("train/loss")] == [6]


@pytest.mark.usefixtures("_new_session")
def test_a_new_run_can_be_asked_for(offline: Offline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_RESUME", "never")
    last = offline.checkpoint
    resumed = recorded(fitted(tmp_path, "--ckpt_path", last, "--trainer.max_steps", 6).folder)
    assert resumed.run.run_id != recorded(offline.folder).run.run_id


@pytest.mark.usefixtures("_wandb")
def test_a_crash_marks_the_run_as_failed(config: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="on purpose"):
        command("fit", "--config", config, BREAK, "--trainer.default_root_dir", tmp_path)
    assert recorded(tmp_path).exit_code == 1


@pytest.mark.usefixtures("_restored_signal", "_wandb")
def test_ctrl_c_marks_the_run_as_failed(config: Path, tmp_path: Path) -> None:
    presses = f"--trainer.callbacks+={PressCtrlC.__module__}.PressCtrlC"
    assert command("fit", "--config", config, presses, "--trainer.default_root_dir", tmp_path).code == 130
    assert recorded(tmp_path).exit_code == 1


@pytest.mark.usefixtures("_new_session")
@pytest.mark.parametrize("key", ["0" * 40, "not a key"])
def test_a_key_that_leads_nowhere_costs_no_run(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", key)
    soon = ["--trainer.logger.settings", "{init_timeout: 1}"]
    with heard() as messages:
        fitted(tmp_path, "--config", config, *soon)
    assert [message for message in messages if message.startswith("W&B is offline (")]
    assert recorded(tmp_path).rows("val/loss")


@pytest.mark.usefixtures("_new_session")
def test_a_sweep_keeps_its_run_and_the_configuration_is_whole_all_the_same(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept = {"wandb_version": 1, "optimizer": {"value": {"init_args": {"lr": 0.5}}}, "model.x": {"value": None}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(swept))
    given = {"WANDB_MODE": "offline", "WANDB_SWEEP_ID": "s1", "WANDB_RUN_ID": "r1", "WANDB_PROJECT": "of the sweep"}
    for name, value in {**given, "WANDB_SWEEP_PARAM_PATH": str(tmp_path / "params.yaml")}.items():
        monkeypatch.setenv(name, value)
    args = ("--optimizer.init_args.lr", 0.5, "--trainer.logger.project", "another")
    run = recorded(fitted(tmp_path, "--config", config, *args).folder)
    assert (run.run.run_id, run.run.sweep_id, run.run.project) == ("r1", "s1", "of the sweep")
    assert run.config["optimizer"] == {"init_args": {"lr": 0.5}}  # W&B's own, for its plots
    assert run.config["optimizer.class_path"].endswith("AdamW")
    assert run.config["optimizer.init_args.betas"] == [0.9, 0.999]
    assert run.config["model"]["init_args"]["d_model"] == 16


@pytest.mark.usefixtures("_new_session")
def test_disabled_it_is_not_even_imported(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setitem(sys.modules, "wandb", None)  # an import raises ImportError
    folder = fitted(tmp_path, "--config", config).folder
    assert not (folder / "wandb").exists()
    assert (folder / "metrics.csv").exists()


def test_a_logger_that_is_copied_begins_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)  # an import raises ImportError
    assert copy.deepcopy(Wandb(project="one")).name == "one"


@pytest.mark.usefixtures("_wandb")
@pytest.mark.parametrize("logger", ["false", "CSVLogger"])
def test_another_logger_or_none_takes_its_place(config: Path, tmp_path: Path, logger: str) -> None:
    own = ("--trainer.logger.save_dir", tmp_path / "own") if logger != "false" else ()
    folder = fitted(tmp_path, "--config", config, "--trainer.logger", logger, *own).folder
    assert not (folder / "wandb").exists()
    assert (folder / "metrics.csv").exists() == (logger != "false")
    assert (folder / "run.json").exists()


@pytest.mark.usefixtures("_wandb")
def test_an_evaluation_is_logged_only_where_that_is_asked_for(offline: Offline) -> None:
    best = offline.folder / "checkpoints" / "best.ckpt"
    root = offline.folder.parents[1] / "evaluated"
    assert command("validate", "--ckpt_path", best, "--trainer.default_root_dir", root).code == 0
    assert not list(root.glob("**/wandb"))
    asked = ("--trainer.logger", "Wandb", "--trainer.logger.project", "tests")
    assert command("test", "--ckpt_path", best, *asked, "--trainer.default_root_dir", root).code == 0
    run = recorded(root)
    assert (run.run.project, run.run.job_type) == ("tests", "test")
    assert run.run.run_id != recorded(offline.folder).run.run_id
    assert run.rows("test/bleu")


@pytest.mark.usefixtures("_wandb")
def test_a_setting_that_wandb_has_not_is_named(config: Path, tmp_path: Path) -> None:
    wrong = ["--trainer.logger.settings", "{no_such: 1}"]
    result = command("fit", "--config", config, *wrong, "--trainer.default_root_dir", tmp_path)
    assert result.code == 2
    assert "no_such" in result.err.splitlines()[-1]
