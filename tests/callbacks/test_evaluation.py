"""Metrics of a split, as they are logged."""

import json
import math
from pathlib import Path

import pytest
import sacrebleu
import torch

from s2s_lightning.callbacks import Evaluation
from s2s_lightning.callbacks.reports.evaluation import Scored, teacher_forced_scores
from s2s_lightning.evaluation.metrics import Metric, Score
from tests.helpers.toy import ToyData, ToyModule, toy_batch, toy_trainer


class Vowels(Metric):
    """A user's own."""

    def __call__(self, hypotheses: object, references: object) -> dict[str, Score]:
        return {"vowels": Score(1.5, "my signature")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def metrics(folder: Path) -> dict[str, float]:
    trainer = toy_trainer(folder, callbacks=[Evaluation(metrics=[Vowels()])])
    trainer.validate(ToyModule(), datamodule=ToyData(), verbose=False)
    return {name: value.item() for name, value in trainer.callback_metrics.items()}


def whole_split() -> tuple[ToyModule, ToyData]:
    return ToyModule().eval(), ToyData()


def test_loss_and_accuracy_are_means_over_the_tokens_of_the_split(metrics: dict[str, float]) -> None:
    module, data = whole_split()
    with torch.no_grad():
        scores = module.token_scores(toy_batch([(word, word) for word in data.words]))
    tokens = scores["tokens"].sum()
    assert metrics["val/loss"] == pytest.approx((scores["nll"].sum() / tokens).item(), abs=1e-12)
    assert metrics["val/ppl"] == pytest.approx(math.exp(metrics["val/loss"]), abs=1e-12)
    assert metrics["val/token_accuracy"] == pytest.approx((100 * scores["correct"].sum() / tokens).item())


def test_bleu_is_that_of_sacrebleu_on_the_whole_split_to_the_digit(metrics: dict[str, float]) -> None:
    module, data = whole_split()
    with torch.no_grad():
        outputs = module.generate(toy_batch([(word, word) for word in data.words]))
    hypotheses = data.decode([best[0].tokens for best in outputs])
    references = [refs[0] for refs in data.references("val", range(9))]
    assert metrics["val/bleu"] == sacrebleu.corpus_bleu(hypotheses, [references]).score
    assert metrics["val/chrf"] == sacrebleu.corpus_chrf(hypotheses, [references]).score


def test_signatures_and_values_are_in_the_run_folder(metrics: dict[str, float], folder: Path) -> None:
    scores = json.loads((folder / "val_scores.json").read_text())["scores"]
    assert scores["bleu"]["signature"].startswith("nrefs:1|case:mixed")
    assert scores["bleu"]["value"] == metrics["val/bleu"]


def test_a_metric_of_the_user_is_logged_like_any(metrics: dict[str, float], folder: Path) -> None:
    assert metrics["val/vowels"] == 1.5
    assert json.loads((folder / "val_scores.json").read_text())["scores"]["vowels"]["signature"] == "my signature"


def test_perplexity_of_a_hopeless_model_is_infinite() -> None:
    assert teacher_forced_scores([Scored(0, [], 1e6, 0, 1)])["ppl"].value == math.inf
