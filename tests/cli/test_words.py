"""Words that other programs use, folders of runs where a checkpoint is asked for, options before their file."""

from pathlib import Path

import pytest

from s2s_lightning.config.config_files import arranged
from s2s_lightning.data.tokenizers.given import CheckpointFile, frozen_tokenizers
from s2s_lightning.errors import UserError
from s2s_lightning.files.run_checkpoints import checkpoint_in
from tests.cli.conftest import Run, command, done

HINTS = {
    "train --config x.yaml": "type python -m s2s_lightning fit --config x.yaml",
    "translate a b": "type python -m s2s_lightning generate a b",
    "evaluate a": "type python -m s2s_lightning test a",
    "fit --learning-rate 3": "--learning-rate is not an option: did you mean --optimizer.lr?",
    "fit -lr 3": "-lr is not an option: did you mean --optimizer.lr?",
    "fit --max-epochs 3": "did you mean --trainer.max_epochs?",
    "fit --seed 3": "did you mean --seed_everything?",
    "fit --output_dir x": "did you mean --run?",
}


@pytest.mark.parametrize(("typed", "hint"), HINTS.items(), ids=HINTS)
def test_the_words_of_other_programs_are_answered_with_ours(config: Path, typed: str, hint: str) -> None:
    words = typed.split()
    result = command(*words, *(["--config", config] if words[0] == "fit" else []))
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert hint in result.err


def test_an_option_may_stand_before_the_file_that_names_its_class() -> None:
    assert arranged("fit", ["--a", "1", "--config", "x", "-c", "y", "--config=z"]) == [
        *("--config", "x", "-c", "y", "--config=z"),
        *("--a", "1"),
    ]


def test_an_option_before_its_file_wins_over_it(config: Path) -> None:
    printed = done("fit", "--model.d_model", "8", "--config", config, "--print_config").out
    assert "d_model: 8" in printed


def test_the_folder_of_a_run_stands_for_its_best_checkpoint(trained: Run, tmp_path: Path) -> None:
    assert checkpoint_in(trained.folder) == checkpoint_in(trained.folder / "checkpoints") == trained.best
    root = tmp_path / "runs"
    done("test", trained.folder, "--trainer.default_root_dir", root)
    text = tmp_path / "in"
    text.write_text("1 2\n")
    assert done("generate", trained.folder, text).out == done("generate", trained.best, text).out
    done("export", trained.folder, "-o", tmp_path / "exported")
    assert checkpoint_in(tmp_path / "exported") == tmp_path / "exported"
    refused = command("fit", "--ckpt_path", trained.folder)
    assert f"fit --resume {trained.folder}" in refused.err


def test_a_run_without_a_checkpoint_and_a_folder_of_runs_are_named(tmp_path: Path) -> None:
    (tmp_path / "several" / "latest" / "checkpoints").mkdir(parents=True)
    with pytest.raises(UserError, match="several/latest for example"):
        checkpoint_in(tmp_path / "several")
    with pytest.raises(UserError, match="run without a checkpoint"):
        checkpoint_in(tmp_path / "several" / "latest")


def test_the_folder_of_a_run_stands_for_its_tokenizers(
    trained: Run, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = tmp_path / "second"
    done("fit", "--config", config, "--data.tokenizer", trained.folder, "--trainer.max_steps", "1", "--run", second)
    assert frozen_tokenizers(str(second)) == frozen_tokenizers(str(trained.best))
    (tmp_path / "BPE").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="nor the path"):
        CheckpointFile.named("BPE")  # the class
    assert CheckpointFile.named("./BPE") == "./BPE"
