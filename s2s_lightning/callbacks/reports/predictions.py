"""The outputs of ``test`` and ``predict`` as files."""

import json
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from s2s_lightning.callbacks.reports.gathered_rows import Gathering, Output, Split, outputs_of
from s2s_lightning.callbacks.reports.samples import Sample, describe
from s2s_lightning.model import Batch
from s2s_lightning.runs.trainer_queries import run_folder


class Predictions(Gathering[Output]):
    """Writes the best hypothesis of each sentence in the order of the corpus.

    ``predictions.txt`` has a line a sentence; ``predictions.jsonl`` its source, references, log-probability and the
    score that the search ranked by. In ``test`` and ``predict``.
    """

    stages = ("test", "predict")

    def take(self, step: dict[str, Any], batch: Batch) -> list[Output]:
        return outputs_of(step)

    def report(self, trainer: Trainer, pl_module: LightningModule, split: Split, rows: list[Output]) -> None:
        if trainer.is_global_zero:
            write(run_folder(trainer), describe(trainer, split, rows))


def write(folder: Path, predictions: list[Sample]) -> None:
    """Write both files. A line break in a hypothesis becomes a space in the plain one, which would lose count."""
    lines = [json.dumps(prediction, ensure_ascii=False) for prediction in predictions]
    plain = [prediction["hypothesis"].replace("\r", " ").replace("\n", " ") for prediction in predictions]
    for name, content in (("predictions.jsonl", lines), ("predictions.txt", plain)):
        with (folder / name).open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(line + "\n" for line in content)
