"""Ensembles, language models and tokenizers of other checkpoints, from the command line."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import s2s_lightning
from s2s_lightning.decoding import Beam, Ensemble, ShallowFusion
from tests.cli.conftest import Run, command, done, fitted

TEXTS = ["1 2 3", "", "4", "5 6 1"]


def tokenizers(run: Run) -> dict[str, Any]:
    """Those that its checkpoint carries."""
    states: dict[str, Any] = torch.load(run.last, weights_only=True)["Seq2SeqData"]["tokenizers"]
    return states


@pytest.fixture(scope="module")
def separate(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run whose sides have vocabularies of their own."""
    tgt = ["--data.tgt_tokenizer", "Characters"]
    return fitted(tmp_path_factory.mktemp("separate"), "--config", config, "--data.tokenizer", "Pretokenized", *tgt)


@pytest.fixture(scope="module")
def other(config: Path, separate: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of another family with the same vocabularies."""
    model = ["--model", "LSTM", "--model.d_model", 16, "--data.corpus.seed", 5]
    root = tmp_path_factory.mktemp("other")
    spec = yaml.safe_load(config.read_text())
    (root / "other.yaml").write_text(yaml.safe_dump({key: spec[key] for key in ("data", "trainer", "attention")}))
    return fitted(root / "runs", "--config", root / "other.yaml", *model, "--data.tokenizer", separate.last)


@pytest.fixture(scope="module")
def language_model(separate: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """As ``configs/lm.yaml`` has it, on the target vocabulary of the first run, which a YAML file names."""
    root = tmp_path_factory.mktemp("lm")
    corpus = {"class_path": "Generated", "init_args": {"task": "copy", "max_length": 4, "symbols": 6}}
    data = {"corpus": {"class_path": "TargetSide", "init_args": {"corpus": corpus}}, "tokenizer": str(separate.last)}
    (root / "mine.yaml").write_text(yaml.safe_dump({"data": data}))
    small = ["--model.d_model", 16, "--model.num_layers", 1, "--trainer.max_steps", 4, "--trainer.accelerator", "cpu"]
    return fitted(root / "runs", "--config", "configs/lm.yaml", "--config", root / "mine.yaml", *small)


def test_a_checkpoint_stands_for_its_tokenizers_and_for_the_targets_where_there_is_no_source(
    separate: Run, other: Run, language_model: Run
) -> None:
    both = tokenizers(separate)
    assert both["tgt"] is not None
    assert tokenizers(other) == both
    assert tokenizers(language_model) == {"src": both["tgt"], "tgt": None, "reverse_source": False}


def test_generate_searches_with_a_language_model(separate: Run, language_model: Run, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("".join(f"{text}\n" for text in TEXTS))
    options = ["--decoding", "ShallowFusion", "--decoding.checkpoint", language_model.last, "--decoding.weight", 0.3]
    done("generate", separate.last, tmp_path / "in", "-o", tmp_path / "out", "--blank", "model", *options)
    model = s2s_lightning.load(separate.last)
    fused = ShallowFusion(str(language_model.last), weight=0.3)
    assert (tmp_path / "out").read_text().split("\n")[:-1] == model.generate(TEXTS, fused)
    (with_it, *_), (without, *_) = (model.search(["1 2"], search)[0] for search in (fused, Beam()))
    assert with_it.score < with_it.log_prob
    assert without.score == without.log_prob


def test_an_ensemble_is_tested_with_a_search_of_ones_choice(separate: Run, other: Run, tmp_path: Path) -> None:
    members = ["--decoding", "Ensemble", f"--decoding.checkpoints=[{other.last}]", "--decoding.average", "log"]
    search = ["--decoding.search", "Beam", "--decoding.search.beam_size", 3]
    done("test", "--ckpt_path", separate.last, *members, *search, "--trainer.default_root_dir", tmp_path)
    (predictions,) = tmp_path.glob("*/[0-9]*/predictions.jsonl")
    rows = [json.loads(line) for line in predictions.read_text().splitlines()]
    ensemble = Ensemble([str(other.last)], average="log", search=Beam(3))
    found = s2s_lightning.load(separate.last).generate([row["source"] for row in rows], ensemble)
    assert found == [row["hypothesis"] for row in rows]


@pytest.mark.parametrize(
    "decoding",
    [["Ensemble", "--decoding.checkpoints=[{}]"], ["ShallowFusion", "--decoding.checkpoint={}"]],
    ids=lambda decoding: decoding[0],
)
def test_another_vocabulary_is_refused_by_name(separate: Run, trained: Run, decoding: list[str]) -> None:
    name, option = decoding
    result = command("test", "--ckpt_path", separate.last, "--decoding", name, option.format(trained.last))
    assert result.code == 2
    assert f"{trained.last} has another " in result.err
    assert "vocabulary than the data" in result.err


def test_a_language_model_is_no_member_of_an_ensemble(separate: Run, language_model: Run) -> None:
    members = ["--decoding", "Ensemble", f"--decoding.checkpoints=[{language_model.last}]"]
    result = command("test", "--ckpt_path", separate.last, *members)
    assert f"{language_model.last} has another source vocabulary" in result.err


@pytest.mark.parametrize(
    ("option", "said"),
    [("--data.tokenizer=none.ckpt", "none.ckpt: no such checkpoint"), ("--data.tokenizer=BEP", "did you mean BPE")],
)
def test_a_name_that_is_no_tokenizer_is_said(config: Path, tmp_path: Path, option: str, said: str) -> None:
    result = command("fit", "--config", config, option, "--trainer.default_root_dir", tmp_path)
    assert result.code == 2
    assert said in result.err
