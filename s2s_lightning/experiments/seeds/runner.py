"""Trains the seeds that are left, as many at once as asked for."""

import os
import signal
import time

from s2s_lightning.cluster.signals import interruptible, press_ctrl_c
from s2s_lightning.errors import UserError
from s2s_lightning.experiments.jobs.interrupt import LOOK, end_well
from s2s_lightning.experiments.jobs.process import Process, environment
from s2s_lightning.experiments.jobs.screen_lines import Lines
from s2s_lightning.experiments.seeds.group import Group, Seed

GROUP = "WANDB_RUN_GROUP"
"""W&B's variable with the name under which it shows the runs together."""

PART = "S2S_LIGHTNING_SEED"
"""Variable of a training that this command has started: where all is a SLURM job, it does not requeue that."""


class Runner:
    """The process that trains seeds.

    Args:
        group: the seeds.
        parallel: how many at once.
        lines: what people see.

    Attributes:
        causes: why seeds have failed, by number.
    """

    def __init__(self, group: Group, parallel: int, lines: Lines) -> None:
        self.group = group
        self.parallel = parallel
        self.lines = lines
        self.causes: dict[int, str] = {}
        self._waiting = group.left
        self._running: dict[int, tuple[Seed, Process]] = {}

    def run(self) -> None:
        """Until each has ended.

        Raises:
            UserError: somebody else trains them, or the command line is refused, as it would be for each of them.
            KeyboardInterrupt: by Ctrl-C, SIGTERM or a hang-up, once the running ones have saved.
        """
        with self.group.held() as lock, interruptible(signal.SIGINT, handler=press_ctrl_c):
            try:
                while self._waiting or self._running:
                    self._step(lock)
                    time.sleep(LOOK)
            except (KeyboardInterrupt, UserError):
                self._interrupt()
                raise

    def _step(self, lock: int) -> None:
        for slot in range(self.parallel):
            if slot not in self._running and self._waiting:
                self._running[slot] = self._start(self._waiting.pop(0), slot, lock)
        for slot, (seed, process) in list(self._running.items()):
            if process.code is not None:
                del self._running[slot]
                self._end(seed, process)
        self.lines.count(len(self.group.seeds) - len(self.group.left), f"{len(self._running)} running")

    def _start(self, seed: Seed, slot: int, lock: int) -> tuple[Seed, Process]:
        again = "goes on" if (seed.folder / "checkpoints").exists() else "begins"
        seed.folder.mkdir(exist_ok=True)
        own = {GROUP: os.environ.get(GROUP, self.group.name), PART: str(seed.number)}
        process = Process(seed.folder, self.group.words(seed), {**environment(slot, self.parallel), **own}, keep=[lock])
        self.lines.say(f"seed {seed.number}  {again}  {process.log}")
        return seed, process

    def _end(self, seed: Seed, process: Process) -> None:
        if process.code == 0 and seed.finished:
            self.lines.say(f"seed {seed.number}  done")
            return
        cause = process.failure() if process.code else "it ended before its last step"
        if process.code == 2 and not (seed.folder / "run.json").exists():  # refused before it trained
            raise UserError(cause.removeprefix("error: "))
        self.causes[seed.number] = cause
        self.lines.say(f"seed {seed.number}  failed  {cause} ({process.log})")

    def _interrupt(self) -> None:
        """Let the running ones save what they have."""
        if self._running:
            self.lines.say(f"stopping {len(self._running)} seeds; Ctrl-C again kills them")
        end_well([process for _, process in self._running.values()])
