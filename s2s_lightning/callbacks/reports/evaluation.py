"""The metrics of validation and test."""

import json
import math
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer

from s2s_lightning.callbacks.reports.gathered_rows import Gathering, Split
from s2s_lightning.data.round_trip import listed
from s2s_lightning.evaluation.metrics import Metric, Score, Tokenize, corpus_scores, default_metrics
from s2s_lightning.files import write_whole
from s2s_lightning.model import Batch
from s2s_lightning.runs.trainer_queries import at_step, has_texts, run_folder, texts, trained


@dataclass(frozen=True, slots=True)
class Scored:
    """A sentence: its best hypothesis, and teacher-forced ``nll`` in nats, ``correct`` of real ``tokens``.

    ``finished`` is False for a hypothesis that the maximum length cut.
    """

    index: int
    hypothesis: list[int]
    nll: float
    correct: int
    tokens: int
    finished: bool = True


class Evaluation(Gathering[Scored]):
    """Logs the metrics of the whole split under ``val/`` or ``test/``, exact on any number of ranks.

    ``loss`` (nll per token, in nats) and ``ppl``; in percent ``token_accuracy`` (teacher-forced), ``exact_match``,
    ``token_error_rate`` and ``sequence_error_rate``; sacreBLEU's ``bleu`` and ``chrf``. Values and signatures of the
    latest evaluation are in ``val_scores.json`` or ``test_scores.json``. Batches that come without a data module have
    no texts, so that only the teacher-forced metrics are logged.

    Args:
        metrics: what to compute besides.
        tokenize: BLEU's tokenizer as sacreBLEU names it: 13a, intl, char, zh, ja-mecab, ko-mecab, flores200 or none.
    """

    stages = ("val", "test")

    def __init__(self, metrics: list[Metric] | None = None, tokenize: Tokenize = "13a") -> None:
        super().__init__()
        self.metrics: list[Metric] = [*default_metrics(tokenize), *(metrics or [])]
        self.signatures: dict[str, str] = {}  # of the latest evaluation, where a score has one

    def names(self) -> list[str]:
        """Return the names of the scores, without the split; the metrics say theirs by scoring one empty text."""
        teacher_forced = teacher_forced_scores([Scored(0, [], 0.0, 0, 1)])
        return [*teacher_forced, *corpus_scores([""], [("",)], self.metrics)]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        # Every rank computes the same number from the same gathered rows: there is nothing to synchronise.
        warnings.filterwarnings("ignore", message=".*recommended to use `self.log.*sync_dist=True")

    def take(self, step: dict[str, Any], batch: Batch) -> list[Scored]:
        columns = [step[name].tolist() for name in ("index", "nll", "correct", "tokens")]
        rows = zip(*columns, step["hypotheses"], strict=True)
        return [
            Scored(index, best[0].tokens, nll, correct, tokens, best[0].finished)
            for index, nll, correct, tokens, best in rows
        ]

    def report(self, trainer: Trainer, pl_module: LightningModule, split: Split, rows: list[Scored]) -> None:
        scores = {**teacher_forced_scores(rows), **self._text_scores(trainer, split, rows)}
        # float64 on the CPU: float32 would lose digits, and a device would have to be waited for.
        values = {f"{split}/{name}": torch.tensor(s.value, dtype=torch.float64) for name, s in scores.items()}
        step = at_step(trainer) if trained(trainer)[0] else {}  # in fit, or in a test right after it
        pl_module.log_dict({**values, **step}, batch_size=1)
        self.signatures = {name: score.signature for name, score in scores.items() if score.signature}
        unequal = unequal_of(trainer, split, rows)
        if unequal:
            pl_module.print(
                f"{split}: references that no output can equal, which count as wrong: {listed(unequal, len(rows))}"
            )
        cut = sum(not row.finished for row in rows)
        if cut:
            pl_module.print(f"{split}: {cut:,} of {len(rows):,} outputs were cut at the maximum length of the search")
        if trainer.is_global_zero:
            self.keep(trainer, split, scores, {"unequal_references": unequal, "cut_outputs": cut})

    def _text_scores(self, trainer: Trainer, split: Split, rows: list[Scored]) -> dict[str, Score]:
        if not has_texts(trainer):
            return {}
        data, indices = texts(trainer), [row.index for row in rows]
        hypotheses = data.decode([row.hypothesis for row in rows], data.sources(split, indices))
        return corpus_scores(hypotheses, data.references(split, indices), self.metrics)

    def keep(self, trainer: Trainer, split: Split, scores: dict[str, Score], counts: dict[str, Any]) -> None:
        """Write the scores into the run's folder, with the counts of unequal references and of cut outputs."""
        values = {name: score._asdict() for name, score in scores.items()}
        content = {"step": trained(trainer)[0], "scores": values, **counts}
        write_whole(run_folder(trainer) / f"{split}_scores.json", json.dumps(content, indent=2) + "\n")


class EvaluationLog(Evaluation):
    """``Evaluation`` without its file: a plain ``Trainer`` has no folder of its own for one."""

    def keep(self, trainer: Trainer, split: Split, scores: dict[str, Score], counts: dict[str, Any]) -> None:
        """Write nothing."""


def unequal_of(trainer: Trainer, split: Split, rows: list[Scored]) -> dict[str, int]:
    """Count the references that no output can equal; none where the data module does not know."""
    known = has_texts(trainer) and hasattr(texts(trainer), "unequal")
    return texts(trainer).unequal(split, [row.index for row in rows]) if known else {}


def teacher_forced_scores(rows: list[Scored]) -> dict[str, Score]:
    """Means over all the tokens of the split."""
    tokens = sum(row.tokens for row in rows)
    loss = math.fsum(row.nll for row in rows) / tokens
    correct = sum(row.correct for row in rows)
    return {
        "loss": Score(loss),
        "ppl": Score(torch.tensor(loss, dtype=torch.float64).exp().item()),  # inf, where math.exp raises
        "token_accuracy": Score(100 * correct / tokens),
    }
