"""A training as a trial: it reports its validations, and ends well when it is told to stop."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from tests.cli.conftest import CONFIG, Run, command, done, fitted
from tests.experiments.sweeps.conftest import table
from tests.tracking.sweeps.conftest import ROOT, TINY

SWEEP = """
method: grid
metric: { name: val/loss, goal: minimize }
parameters:
  optimizer.init_args.lr: { values: [3.0e-3, 1.0e-3] }
  trainer.gradient_clip_val: { value: null }
  data: { parameters: { max_tokens: { value: 96 } } }
command: ["${env}", "${interpreter}", -m, s2s_lightning, fit, --config, tiny.yaml, --config, "${args_json_file}"]
"""
OFTEN = ["--trainer.val_check_interval", 1, "--trainer.max_steps", 6]


@pytest.fixture
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a trial, and a configuration beside it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    folder = tmp_path / "trial"
    folder.mkdir()
    (folder / "trial.json").write_text(json.dumps({"metric": "val/loss", "may_stop": True}))
    monkeypatch.setenv("S2S_LIGHTNING_TRIAL", str(folder))
    return folder


def reports(trial: Path) -> list[float]:
    return [json.loads(line)["value"] for line in (trial / "reports.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(("answer", "steps"), [("99 stop", 1), ("99 go", 6)])
def test_a_training_ends_where_it_is_told_to_with_exit_code_0_and_a_checkpoint(
    answer: str, steps: int, trial: Path, tmp_path: Path
) -> None:
    (trial / "answer").write_text(answer)
    run = fitted(tmp_path / "runs", "--config", "tiny.yaml", *OFTEN)
    assert torch.load(run.last, weights_only=True)["global_step"] == steps
    assert len(reports(trial)) == steps


def test_what_is_reported_is_what_chooses_the_best_checkpoint(trial: Path, tmp_path: Path) -> None:
    (trial / "answer").write_text("99 go")
    run = fitted(tmp_path / "runs", "--config", "tiny.yaml", *OFTEN)
    best = torch.load(run.best, weights_only=True)["callbacks"]["BestAndLast"]["best_model_score"]
    assert min(reports(trial)) == best.item()


def test_a_metric_that_is_not_logged_is_refused_with_the_right_one(trial: Path) -> None:
    (trial / "trial.json").write_text(json.dumps({"metric": "val/los", "may_stop": False}))
    result = command("fit", "--config", "tiny.yaml")
    assert result.code == 2
    assert "metric.name=val/los is not logged: did you mean val/loss?" in result.err


def test_a_sweep_of_real_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(CONFIG.replace("max_steps: 4", "max_steps: 2"))
    (tmp_path / "lr.yaml").write_text(SWEEP)
    done("sweep", "lr.yaml", "--count", 1)
    (row,) = table(Path("runs/sweeps/lr"))
    assert row["state"] == "done"
    config = torch.load(Run(Path(row["run"])).last, weights_only=True)["s2s_lightning_config"]
    assert config["optimizer"]["init_args"]["lr"] == float(row["optimizer.init_args.lr"]) == 3e-3
    assert config["trainer"]["gradient_clip_val"] is None
    assert config["data"]["max_tokens"] == 96


def test_shipped_sweeps_run_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    transformer = yaml.safe_load((ROOT / "configs/transformer.yaml").read_text())
    (tmp_path / "configs/transformer.yaml").write_text(yaml.safe_dump({**transformer, **TINY}))
    for name, metric in (("lr", "val/loss"), ("decoding", "val/token_error_rate")):  # of what the first has trained
        done("sweep", ROOT / f"sweeps/{name}.yaml", "--count", 1)
        (row,) = table(Path(f"runs/sweeps/{name}"))
        assert row["state"] == "done"
        assert float(row[metric]) > 0
