"""Runs the trials of a study: as many at once as asked for, each to a good end."""

import json
import math
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.exceptions import UpdateFinishedTrialError

from s2s_lightning.cluster.signals import interruptible, press_ctrl_c
from s2s_lightning.errors import UserError
from s2s_lightning.experiments.jobs.interrupt import LOOK, end_well
from s2s_lightning.experiments.jobs.process import environment
from s2s_lightning.experiments.sweeps.command import command_line, nested
from s2s_lightning.experiments.sweeps.outage import Outage, unreachable
from s2s_lightning.experiments.sweeps.screen import Screen
from s2s_lightning.experiments.sweeps.study import Study
from s2s_lightning.experiments.sweeps.trial_process import TrialProcess
from s2s_lightning.experiments.sweeps.trials import BEAT
from s2s_lightning.files import write_whole

if TYPE_CHECKING:
    from optuna.trial import Trial

CLAIM = 10.0
"""Seconds between two questions to the storage for work, when nothing here has changed."""

FAILURES = 3
"""Trials that may fail in a row; more say that it is not the trial's settings that are wrong."""


@dataclass
class Running:
    """A trial that runs here.

    Attributes:
        values: the metric at each validation.
        told: how many of them the study knows.
        run: the folder of its run, where it knows it.
        stopped: whether it was told to stop early.
        alive: when it last gave a sign of life.
    """

    trial: "Trial"
    process: TrialProcess
    values: list[float] = field(default_factory=list)
    told: int = 0
    run: str | None = None
    stopped: bool = False
    alive: float = field(default_factory=time.monotonic)


class Driver:
    """The process that runs trials.

    Args:
        study: which it shares with others.
        folder: of the sweep.
        parallel: trials at once.
        at_most: trials that it starts; None for all there are.
        screen: what people see.
    """

    def __init__(self, study: Study, folder: Path, parallel: int, at_most: int | None, screen: Screen) -> None:
        self.study = study
        self.folder = folder
        self.parallel = parallel
        self.left = math.inf if at_most is None else at_most
        self.screen = screen
        self.running: dict[int, Running] = {}
        self._failures = 0
        self._next_claim = 0.0

    def run(self) -> None:
        """Until there is nothing more to do.

        Raises:
            UserError: trial after trial fails.
            Exception: of the storage, which has been out of reach for long.
            KeyboardInterrupt: by Ctrl-C, SIGTERM or a hang-up, once the running trials have ended and will run again.
        """
        with interruptible(signal.SIGINT, handler=press_ctrl_c):
            try:
                self._loop()
            except (KeyboardInterrupt, Exception):
                self._interrupt()
                raise

    def _loop(self) -> None:
        outage = Outage(self.screen)
        while True:
            try:
                if not self._look():
                    return
            except BrokenPipeError:
                raise
            except unreachable() as error:
                outage.bear(error)
            else:
                outage.over()
                time.sleep(LOOK)

    def _look(self) -> bool:
        """Start what there is to start, and see to what runs; False when nothing does."""
        if time.monotonic() >= self._next_claim:
            self._fill()
            self._next_claim = time.monotonic() + CLAIM
            self.screen.progress(self.study)
        for slot, running in list(self.running.items()):
            if self._has_ended(running):
                del self.running[slot]
                self._next_claim = 0.0
                self._check_failures()
        return bool(self.running) or self._next_claim == 0

    def _fill(self) -> None:
        """Start trials in what is free."""
        lost = self.study.give_up_lost_ones(running.trial.number for running in self.running.values())
        for number in lost:
            self.screen.say(f"trial {number}  lost with its process; it runs again")
        for slot in range(self.parallel):
            if slot not in self.running and self.left > 0:
                trial = self.study.claim()
                if trial is None:
                    return
                self.left -= 1
                self.running[slot] = self._start(trial, slot)

    def _start(self, trial: "Trial", slot: int) -> Running:
        folder = self._folder(trial.number)
        folder.mkdir(parents=True, exist_ok=True)
        sweep, arguments = self.study.sweep, nested(self.study.values(trial))
        file = folder / f"{sweep.name}.json"  # a training whose only configuration it is takes its run's name from it
        write_whole(file, json.dumps(arguments, indent=2) + "\n")
        words = command_line(sweep, arguments, file)
        trial.set_user_attr("command", words)
        said: dict[str, Any] = {"number": trial.number, "metric": sweep.metric.name, "may_stop": bool(sweep.stopping)}
        self.screen.begins(trial.number, self.study.values(trial))
        try:
            return Running(trial, TrialProcess(folder, words, said, environment(slot, self.parallel)))
        except OSError as error:
            self.study.fail(trial, f"{words[0]}: {error.strerror}")
            raise UserError(f"command: {words[0]} cannot be started: {error.strerror}") from error

    def _folder(self, number: int) -> Path:
        return self.folder / "trials" / f"{number:04}"

    def _has_ended(self, running: Running) -> bool:
        """Listen to a trial, and see it to its end."""
        code = running.process.code  # before its reports: what ends has said all
        try:
            self._listen(running)
        except UpdateFinishedTrialError:
            running.process.signal(signal.SIGKILL)
            self.screen.say(f"trial {running.trial.number}  was given up by another process, which took it for lost")
            return True
        if code is None:
            return False
        self._end(running, code)
        return True

    def _listen(self, running: Running) -> None:
        trial = running.trial
        if time.monotonic() - running.alive > BEAT:
            running.alive = time.monotonic()
            self.study.beat(trial)
        for report in running.process.new_reports():
            running.values.append(report.value)
            running.run = report.run
        while running.told < len(running.values):
            number = running.told + 1
            trial.report(running.values[number - 1], number)
            if running.run and number == 1:
                trial.set_user_attr("run", running.run)
            if self.study.sweep.stopping:
                running.stopped = running.stopped or trial.should_prune()
                running.process.answer(number, running.stopped)
            running.told = number

    def _end(self, running: Running, code: int) -> None:
        metric, process = self.study.sweep.metric, running.process
        if code == 0 and metric.best(running.values) is not None:
            self.study.complete(running.trial, running.values, running.stopped)
            self._failures = 0
        else:
            self.study.fail(running.trial, _cause(running, code, metric.name))
            self._failures += 1
        self.screen.ended(self.study, running.trial.number, process.folder)

    def _check_failures(self) -> None:
        if self._failures >= FAILURES:
            failed = [trial for trial in self.study.real() if "cause" in trial.user_attrs]
            cause, log = failed[-1].user_attrs["cause"], self._folder(failed[-1].number) / "output.log"
            raise UserError(f"{self._failures} trials in a row have failed, the last with: {cause} ({log})")

    def _interrupt(self) -> None:
        """Let the running trials save what they have, and mark them to run again."""
        if self.running:
            self.screen.say(f"stopping {len(self.running)} trials; Ctrl-C again kills them")
        end_well([running.process for running in self.running.values()], self._listen_to_all)
        self._listen_to_all()
        for running in self.running.values():
            if running.process.code == 0 and running.values:
                self._end(running, 0)
            else:
                with suppress(*unreachable()):  # then the next start finds it without a process
                    self.study.give_back(running.trial)
                self.screen.say(f"trial {running.trial.number}  interrupted; it runs again when the sweep goes on")
        self.running = {}

    def _listen_to_all(self) -> None:
        for running in self.running.values():
            with suppress(UserError, UpdateFinishedTrialError, *unreachable()):
                self._listen(running)


def _cause(running: Running, code: int, metric: str) -> str:
    """Why a trial counts as failed."""
    if code:
        return running.process.failure()
    return f"{metric} was never finite" if running.values else f"it ended without a report of {metric}"
