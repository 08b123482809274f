"""Configurations: overlays, defaults, and config.yaml, which repeats the run."""

from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor

from s2s_lightning.callbacks import DEFAULT_CALLBACKS, Samples
from s2s_lightning.callbacks.checkpointing.checkpoints import BestAndLast
from s2s_lightning.cli.fit import CLI, TRAINER_DEFAULTS
from s2s_lightning.runs.folder import new_run_folder
from tests.cli.conftest import Run, done, fitted
from tests.runs.runs import metrics


def built(config: Path, root: Path, *args: str) -> CLI:
    return CLI("fit", ["--config", str(config), "--trainer.default_root_dir", str(root), *args])


def test_the_saved_configuration_alone_repeats_the_run(trained: Run, tmp_path: Path) -> None:
    again = fitted(tmp_path, "--config", trained.folder / "config.yaml")
    assert again.folder.parent.name == trained.folder.parent.name
    assert list(metrics(again.folder)) == list(metrics(trained.folder))
    first, second = (torch.load(run.last, weights_only=True)["state_dict"] for run in (trained, again))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_saved_configuration_does_not_name_its_own_folder(trained: Run) -> None:
    config = yaml.safe_load((trained.folder / "config.yaml").read_text())
    assert Path(config["trainer"]["default_root_dir"]) == trained.folder.parents[1]


def test_later_files_and_options_win_over_earlier_ones_key_by_key(config: Path, tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("data: {max_tokens: 99, num_workers: 1}\ntrainer: {max_epochs: 3}\n")
    cli = built(config, tmp_path, "--config", str(tmp_path / "data.yaml"), "--data.num_workers", "0")
    data, trainer = cli.config.data, cli.config.trainer
    assert (data.max_tokens, data.num_workers, data.corpus.init_args.train_pairs) == (99, 0, 120)
    assert (trainer.max_epochs, trainer.max_steps) == (3, 4)


def test_options_are_short(config: Path, tmp_path: Path) -> None:
    args = ["--optimizer.lr", "3e-4", "--decoding", "Beam", "--decoding.beam_size", "5", "--data.tokenizer", "BPE"]
    cli = built(config, tmp_path, *args, "--model", "GRU", "--model.d_model", "8")
    assert cli.model.optimizer([torch.nn.Parameter(torch.zeros(1))]).param_groups[0]["lr"] == 3e-4
    assert type(cli.model.decoding).__name__ == "Beam"
    assert type(cli.model).__name__ == "GRU"
    assert type(cli.datamodule.tokenizers.src).__name__ == "BPE"


def test_another_optimizer_has_its_own_defaults(config: Path, tmp_path: Path) -> None:
    cli = built(config, tmp_path, "--optimizer", "Adam")
    assert cli.config.optimizer.init_args.lr == 3e-3, "what the file says stays"
    assert cli.config.optimizer.init_args.weight_decay == 0, "what AdamW would have had does not"


def test_the_trainer_has_the_defaults_of_the_framework(config: Path, tmp_path: Path) -> None:
    trainer = built(config, tmp_path).config.trainer
    expected = {**TRAINER_DEFAULTS, "default_root_dir": str(tmp_path)}
    assert {name: trainer[name] for name in expected} == expected


def test_callbacks_of_the_user_stand_beside_the_default_ones(config: Path, tmp_path: Path) -> None:
    cli = built(config, tmp_path, "--trainer.callbacks+=LearningRateMonitor")
    types = [type(callback) for callback in cli.trainer.callbacks]
    assert {LearningRateMonitor, BestAndLast, *DEFAULT_CALLBACKS.values()} <= set(types)


def test_a_callback_of_the_user_replaces_the_default_one_of_its_class(config: Path, tmp_path: Path) -> None:
    cli = built(config, tmp_path, "--trainer.callbacks+=Samples", "--trainer.callbacks.num_samples=2")
    assert [callback.limit for callback in cli.trainer.callbacks if type(callback) is Samples] == [2]


def test_bar_checkpoints_and_logger_can_be_switched_off(config: Path, tmp_path: Path) -> None:
    off = ["--trainer.enable_progress_bar", "false", "--trainer.enable_checkpointing", "false"]
    done("fit", "--config", config, *off, "--trainer.logger", "false", "--trainer.default_root_dir", tmp_path)
    (folder,) = tmp_path.glob("*/[0-9]*")
    assert not (folder / "checkpoints").exists()
    assert not (folder / "metrics.csv").exists()


def test_patience_follows_the_metric_of_the_best_checkpoint(config: Path, tmp_path: Path) -> None:
    cli = built(config, tmp_path, "--patience", "3", "--checkpoint.monitor", "val/bleu")
    (stopping,) = (callback for callback in cli.trainer.callbacks if isinstance(callback, EarlyStopping))
    assert (stopping.monitor, stopping.mode, stopping.patience) == ("val/bleu", "max", 3)


def test_runs_that_start_in_one_second_have_folders_of_their_own(tmp_path: Path) -> None:
    folders = [new_run_folder(tmp_path, "fit") for _ in range(3)]
    assert len(set(folders)) == 3
    assert all(folder.is_dir() for folder in folders)


def test_a_process_that_was_started_by_the_first_has_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = new_run_folder(tmp_path, "fit")
    monkeypatch.setattr("s2s_lightning.runs.folder.rank_zero_only.rank", 1)
    assert new_run_folder(tmp_path, "fit") == first


def test_prepare_makes_what_fit_needs_and_trains_nothing(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("S2S_LIGHTNING_CACHE", str(tmp_path / "cache"))
    said = done("prepare", "--config", config, "--trainer.default_root_dir", tmp_path / "runs").out
    assert "train pairs" in said
    assert not (tmp_path / "runs").exists()
    prepared = set((tmp_path / "cache").rglob("*"))
    fitted(tmp_path / "runs", "--config", config)
    assert set((tmp_path / "cache").rglob("*")) == prepared


def test_prepare_needs_no_model() -> None:
    assert "train pairs" in done("prepare", "--data.corpus", "Generated", "--data.corpus.train_pairs", 20).out
