"""What a run says at its end is true, and can be typed."""

import re
import shlex
from pathlib import Path

import pytest
from lightning.pytorch import Callback, Trainer

from s2s_lightning import PROGRAM
from tests.cli.conftest import done

NO_VAL = ["--data.corpus.val_pairs", 0]
EPOCHS = ["--trainer.max_steps", -1, "--trainer.max_epochs", 9]


class Stop(Callback):
    """After the first step, for reasons of its own."""

    def on_train_batch_end(self, trainer: Trainer, *args: object) -> None:
        trainer.should_stop = True


def end_of_fit(config: Path, root: Path, *args: object) -> str:
    """What a run prints from its folder on."""
    out = done("fit", "--config", config, "--trainer.default_root_dir", root, *args).out
    return out[out.index("run folder") :]


def commands(said: str) -> dict[str, list[str]]:
    """Command -> its arguments."""
    typed = [line.split(PROGRAM)[1] for line in said.splitlines() if PROGRAM in line]
    return {name: rest for name, *rest in map(shlex.split, typed)}


@pytest.mark.parametrize("without", [NO_VAL, ["--trainer.limit_val_batches", 0]])
def test_without_validation_the_last_checkpoint_is_what_there_is(
    config: Path, tmp_path: Path, without: list[object]
) -> None:
    said = end_of_fit(config, tmp_path, *without)
    assert re.search(r"last checkpoint  \S+last.ckpt\n", said)
    assert "best" not in said
    typed = commands(said)
    assert set(typed) == {"generate", "test", "fit"}
    assert typed["generate"][0].endswith("last.ckpt")
    assert typed["test"][1].endswith("last.ckpt")
    done("test", *typed["test"], "--trainer.default_root_dir", tmp_path / "test")


def test_without_a_test_split_no_test_is_proposed(config: Path, tmp_path: Path) -> None:
    typed = commands(end_of_fit(config, tmp_path, "--data.corpus.test_pairs", 0))
    assert set(typed) == {"generate", "fit"}
    assert typed["generate"][0].endswith("best.ckpt")


@pytest.mark.parametrize("without", [["--trainer.fast_dev_run", 1], ["--trainer.enable_checkpointing", "false"]])
def test_without_a_checkpoint_there_is_the_folder_alone(config: Path, tmp_path: Path, without: list[object]) -> None:
    said = end_of_fit(config, tmp_path, *without)
    assert said.splitlines()[1:] == []  # pytest's folder has the word checkpoint in it
    assert commands(said) == {}


def test_the_resumed_run_goes_beyond_the_limit(config: Path, tmp_path: Path) -> None:
    typed = commands(end_of_fit(config, tmp_path))
    assert typed["fit"][2:] == ["--trainer.max_steps", "8"]


@pytest.mark.parametrize(("patience", "validations", "longer"), [(0, 2, 2), (1, 2, 2), (2, 3, 4)])
def test_patience_ends_the_run_and_more_of_it_goes_on(
    config: Path, tmp_path: Path, patience: int, validations: int, longer: int
) -> None:
    """Without learning no validation improves on the first."""
    said = end_of_fit(config, tmp_path, *EPOCHS, "--optimizer.lr", 0, "--patience", patience)
    typed = commands(said)
    assert typed["fit"][2:] == ["--patience", str(longer)]
    (metrics,) = tmp_path.glob("tiny/[0-9]*/metrics.csv")

    def validated() -> int:
        header, *rows = [line.split(",") for line in metrics.read_text().splitlines()]
        return sum(bool(row[header.index("val/loss")]) for row in rows)

    assert validated() == validations
    again = done("fit", *typed["fit"]).out
    assert validated() == longer + 1
    assert "--patience" in again


def test_a_run_that_something_else_has_ended_is_not_resumed(config: Path, tmp_path: Path) -> None:
    typed = commands(end_of_fit(config, tmp_path, f"--trainer.callbacks+={__name__}.Stop"))
    assert set(typed) == {"generate", "test"}
