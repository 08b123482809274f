"""Sample outputs over the steps of a run, to be read by people."""

import json
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer

from s2s_lightning.callbacks.reports.gathered_rows import Gathering, Output, Split, outputs_of
from s2s_lightning.callbacks.reports.media import Cell, cell, log_table
from s2s_lightning.errors import check_at_least
from s2s_lightning.files import write_whole
from s2s_lightning.model import Batch
from s2s_lightning.runs.trainer_queries import run_folder, texts, trained

Sample = dict[str, Any]
"""An output as a line of JSON, with the ``step`` it was made at where there are several."""


COLUMNS = ("step", "index", "source", "reference", "hypothesis", "log_prob", "exact")
"""Of the table that the loggers show."""


class Samples(Gathering[Output]):
    """Writes what becomes of a few validation sentences: ``samples.md``, and ``samples.jsonl`` for programs.

    Args:
        num_samples: sentences, spread over the validation split.
    """

    growing_files = ("samples.jsonl",)

    stages = ("val",)

    def __init__(self, num_samples: int = 10) -> None:
        check_at_least(0, num_samples=num_samples)
        super().__init__(limit=num_samples)

    def take(self, step: dict[str, Any], batch: Batch) -> list[Output]:
        return outputs_of(step)

    def report(self, trainer: Trainer, pl_module: LightningModule, split: Split, rows: list[Output]) -> None:
        if trainer.is_global_zero:
            folder = run_folder(trainer)
            samples = [{"step": trained(trainer)[0], **row} for row in describe(trainer, split, rows)]
            append(folder / "samples.jsonl", samples)
            write_whole(folder / "samples.md", table(read(folder / "samples.jsonl")))
            log_table(trainer, "samples", COLUMNS, [row(sample) for sample in samples])


def describe(trainer: Trainer, split: Split, rows: list[Output]) -> list[Sample]:
    """The texts behind the ids."""
    data, indices = texts(trainer), [row.index for row in rows]
    sources = data.sources(split, indices)
    hypotheses = data.decode([row.hypothesis.tokens for row in rows], sources)
    columns = zip(rows, sources, data.references(split, indices), hypotheses, strict=True)
    return [
        {
            "index": row.index,
            "source": source,
            "references": list(references),
            "hypothesis": hypothesis,
            "log_prob": row.hypothesis.log_prob,
            "score": row.hypothesis.score,
        }
        for row, source, references, hypothesis in columns
    ]


def row(sample: Sample) -> list[Cell]:
    """A line of the loggers' table, with the first of its references."""
    references = sample["references"]
    line = {**sample, "reference": references[0], "exact": sample["hypothesis"] in references}
    return [line[name] for name in COLUMNS]


def append(path: Path, lines: Iterable[Any]) -> None:
    """Add objects to a file of JSON lines."""
    with path.open("a", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def read(path: Path) -> list[Sample]:
    """The samples of a run; of a step that a resumed run did again, the latter ones."""
    with path.open(encoding="utf-8", newline="\n") as file:
        samples = [json.loads(line) for line in file]
    return list({(sample["index"], sample["step"]): sample for sample in samples}.values())


def table(samples: list[Sample]) -> str:
    """Markdown: a table a sentence, the latest step first."""
    ordered = sorted(samples, key=lambda sample: (sample["index"], -sample["step"]))
    sections = [_section(list(group)) for _, group in groupby(ordered, key=lambda sample: sample["index"])]
    return "\n".join(["# Sample outputs of validation\n", *sections])


def _section(samples: list[Sample]) -> str:
    latest = samples[0]
    head = [f"## {latest['index']}: {cell(latest['source'])}\n"]
    references = [f"- reference: {cell(reference)}" for reference in latest["references"]]
    rows = [_row(sample) for sample in samples]
    return "\n".join([*head, *references, "\n| step | output | log-prob | |", "|--:|---|--:|---|", *rows, ""])


def _row(sample: Sample) -> str:
    right = "exact" if sample["hypothesis"] in sample["references"] else ""
    return f"| {sample['step']} | {cell(sample['hypothesis'])} | {sample['log_prob']:.2f} | {right} |"
