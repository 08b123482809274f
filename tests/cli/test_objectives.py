"""Objectives and their networks from the command line, and the options of any family."""

import csv
from pathlib import Path

import pytest
import torch

from s2s_lightning import load
from s2s_lightning.callbacks import DropTokens
from s2s_lightning.cli.fit import CLI
from tests.cli.conftest import Run, command, done, fitted

DISTIL = ("--objective", "Distillation", "--objective.teacher")


def test_a_student_of_another_family_learns_from_a_checkpoint(config: Path, trained: Run, tmp_path: Path) -> None:
    luong = ["--model", "Luong", "--model.d_embedding", 8, "--model.d_model", 8, "--model.num_layers", 1]
    run = fitted(tmp_path, "--config", config, *luong, *DISTIL, trained.last, "--trainer.log_every_n_steps", 1)
    content = torch.load(run.last, weights_only=True)
    assert content["class_path"] == "s2s_lightning.families.Luong"
    assert not [name for name in content["state_dict"] if "teacher" in name or "network" in name]
    assert "train/kl" in (run.folder / "metrics.csv").read_text().splitlines()[0]


def test_the_teacher_is_needed_for_training_alone(config: Path, trained: Run, tmp_path: Path) -> None:
    teacher = tmp_path / "teacher.ckpt"
    teacher.write_bytes(trained.last.read_bytes())
    student = fitted(tmp_path / "student", "--config", config, *DISTIL, teacher)
    teacher.unlink()
    done("validate", "--ckpt_path", student.last, "--trainer.default_root_dir", tmp_path / "validate")
    result = command("fit", "--ckpt_path", student.last, "--trainer.max_steps", 6)
    assert (result.code, result.err.strip().splitlines()[-1]) == (2, f"error: there is no checkpoint {teacher}")


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (["--data.corpus.symbols", 5], "source vocabulary"),
        (["--data.reverse_source", "true"], "order of reading (data.reverse_source)"),
    ],
)
def test_a_teacher_with_other_ids_is_refused_by_name(
    config: Path, trained: Run, tmp_path: Path, change: list[object], name: str
) -> None:
    result = command("fit", "--config", config, *change, *DISTIL, trained.last, "--trainer.default_root_dir", tmp_path)
    assert result.code == 2
    assert f"{trained.last} has another {name} than the data; train with its own" in result.err


def test_tokens_are_dropped_in_any_family_without_a_setting_of_its_own(config: Path) -> None:
    options = ["--drop_tokens.src_word", "0.1", "--drop_tokens.tgt_embedding", "0.2", "--config", str(config)]
    cli = CLI("fit", options)
    (drops,) = (callback for callback in cli.trainer.callbacks if isinstance(callback, DropTokens))
    drops.setup(cli.trainer, cli.model, "fit")
    network = cli.model.model
    assert (network.src_dropout.word, network.src_dropout.embedding) == (0.1, 0.0)
    assert (network.tgt_dropout.word, network.tgt_dropout.embedding) == (0.0, 0.2)


def test_a_network_that_read_from_the_end_goes_on_doing_so_whatever_it_is_told_later(
    config: Path, tmp_path: Path
) -> None:
    run = fitted(tmp_path / "fit", "--config", config, "--data.reverse_source", "true")
    assert load(run.last).data.tokenizers.reverse_source
    result = command("test", "--ckpt_path", run.last, "--data.reverse_source", "false")
    assert result.code == 2
    assert "data.reverse_source=False contradicts the checkpoint's True" in result.err


def test_the_objective_is_told_the_optimizer_step_and_a_resumed_one_goes_on(config: Path, tmp_path: Path) -> None:
    options = [
        "--objective",
        "ScheduledSampling",
        "--objective.decay",
        "LinearDecay",
        "--objective.decay.slope",
        "0.25",
    ]
    logged = ["--trainer.log_every_n_steps", 1, "--trainer.accumulate_grad_batches", 2]
    run = fitted(tmp_path / "first", "--config", config, *options, *logged, "--trainer.max_steps", 3)
    again = fitted(tmp_path / "again", "--ckpt_path", run.last, "--trainer.max_steps", 5)
    shares = [*true_inputs(run), *true_inputs(again)]
    assert shares[0] == 1
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] == min(shares) < 0.5  # BOS alone is true when epsilon is 0
    assert len(shares) == 5


def true_inputs(run: Run) -> list[float]:
    """The share of each logged step."""
    with (run.folder / "metrics.csv").open() as file:
        return [float(row["train/true_inputs"]) for row in csv.DictReader(file) if row.get("train/true_inputs")]
