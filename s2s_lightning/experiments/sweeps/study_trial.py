"""A run that is a trial of ``sweep``: it reports its validations and ends when it is told to."""

import json
import os
import time
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from s2s_lightning.errors import UserError, closest, did_you_mean
from s2s_lightning.experiments.sweeps.trial_process import VARIABLE
from s2s_lightning.runs.trainer_queries import run_folder

PATIENCE = 60.0
"""Seconds that a trial waits for an answer before it goes on: its sweep may be gone."""


class StudyTrial(Callback):
    """Reports the sweep's metric after each validation or test; where trials are stopped early, waits for the answer.

    A trial that is told to stop ends as after its last step: with a checkpoint and exit code 0.

    Args:
        folder: of the trial, which ``sweep`` has made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        said = json.loads((folder / "trial.json").read_text())
        self.metric: str = said["metric"]
        self.may_stop: bool = said["may_stop"]
        self._reports = 0

    def followed(self) -> list[tuple[str, str]]:
        """Return the option that names the metric, and the metric."""
        return [("the sweep's metric.name", self.metric)]

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        value = self._value(trainer)
        stop = trainer.is_global_zero and self._report(trainer, value)
        if self.may_stop and trainer.strategy.reduce_boolean_decision(stop, all=False):  # all ranks at the same step
            trainer.should_stop = True

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        value = self._value(trainer)
        if trainer.is_global_zero:
            self._report(trainer, value)

    def _value(self, trainer: Trainer) -> float:
        metrics = trainer.callback_metrics
        if self.metric not in metrics:
            hint = did_you_mean(closest(self.metric, metrics)) or f"; there are {', '.join(sorted(metrics))}"
            raise UserError(f"the sweep's metric.name={self.metric} is not logged{hint}")
        return metrics[self.metric].item()

    def _report(self, trainer: Trainer, value: float) -> bool:
        """Write it; whether the answer is to stop."""
        line = {"value": value, "run": str(run_folder(trainer))}
        with (self.folder / "reports.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self._reports += 1
        return self.may_stop and self._told_to_stop()

    def _told_to_stop(self) -> bool:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if (answer := self.folder / "answer").exists():
                reports, word = answer.read_text().split()
                if int(reports) >= self._reports:
                    return word == "stop"
            time.sleep(0.05)
        return False


def of_environment() -> list[Callback]:
    """The callback of a process that ``sweep`` has started; none elsewhere."""
    folder = os.environ.get(VARIABLE)
    return [StudyTrial(Path(folder))] if folder else []
