"""Sample outputs and predictions as files."""

import json
from pathlib import Path

from s2s_lightning.callbacks import Predictions, Samples
from s2s_lightning.callbacks.reports.predictions import write
from s2s_lightning.callbacks.reports.samples import table
from tests.helpers.toy import ToyData, ToyModule, toy_trainer

SAMPLE = {"step": 1, "index": 0, "source": "a|b", "references": ["x"], "hypothesis": "x", "log_prob": -1.0, "score": -1}


def test_samples_are_a_table_a_sentence_with_a_row_a_validation(tmp_path: Path) -> None:
    trainer = toy_trainer(tmp_path, callbacks=[Samples(num_samples=2)], max_epochs=3)
    trainer.fit(ToyModule(), datamodule=ToyData())
    samples = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert [(sample["step"], sample["index"]) for sample in samples] == [(s, i) for s in (10, 20, 30) for i in (0, 5)]
    text = (tmp_path / "samples.md").read_text()
    assert [line.split("|")[1].strip() for line in text.splitlines() if line[:3] in ("| 1", "| 2", "| 3")] == [
        *("30", "20", "10"),
        *("30", "20", "10"),
    ]


def test_a_step_done_again_by_a_resumed_run_stands_once(tmp_path: Path) -> None:
    for _ in range(2):
        toy_trainer(tmp_path, callbacks=[Samples(num_samples=1)]).fit(ToyModule(), datamodule=ToyData())
    assert (tmp_path / "samples.md").read_text().count("| 10 |") == 1


def test_text_cannot_break_the_table() -> None:
    lines = table([{**SAMPLE, "hypothesis": "x|y\nz"}]).splitlines()
    assert r"## 0: a\|b" in lines
    assert r"| 1 | x\|y z | -1.00 |  |" in lines


def test_a_right_answer_is_marked() -> None:
    assert "| 1 | x | -1.00 | exact |" in table([SAMPLE])


def test_predictions_have_a_line_a_sentence_in_corpus_order(tmp_path: Path) -> None:
    module, data = ToyModule(), ToyData()
    toy_trainer(tmp_path, callbacks=[Predictions()]).test(module, datamodule=data, verbose=False)
    rows = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().split("\n")[:-1]]
    assert [row["source"] for row in rows] == data.words
    assert [row["hypothesis"] for row in rows] == (tmp_path / "predictions.txt").read_text().split("\n")[:-1]
    assert rows[0]["references"] == [" ".join(data.words[0])]
    assert rows[0]["log_prob"] == rows[0]["score"] < 0
    assert "step" not in rows[0]


def test_predict_writes_the_same_as_test(tmp_path: Path) -> None:
    module, data = ToyModule(), ToyData()
    toy_trainer(tmp_path / "test", callbacks=[Predictions()]).test(module, datamodule=data, verbose=False)
    toy_trainer(tmp_path / "predict", callbacks=[Predictions()]).predict(module, datamodule=data)
    assert (tmp_path / "test/predictions.txt").read_text() == (tmp_path / "predict/predictions.txt").read_text()


def test_a_line_break_inside_a_hypothesis_does_not_make_a_line(tmp_path: Path) -> None:
    write(tmp_path, [{**SAMPLE, "hypothesis": "a\nb\u2028c"}, SAMPLE])
    assert (tmp_path / "predictions.txt").read_text(encoding="utf-8") == "a b\u2028c\nx\n"
    assert json.loads((tmp_path / "predictions.jsonl").read_text().split("\n")[0])["hypothesis"] == "a\nb\u2028c"
