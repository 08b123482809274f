"""Measure what torchrun does when one of two nodes is lost: the numbers of docs/cluster/torchrun.md.

    python -m tests.cluster.two_nodes [SCENARIO]...

Not a test of the suite, for it takes one to two minutes a scenario. It needs what tests/cluster/slurm_cluster.sh needs.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from lightning.pytorch import Callback, Trainer

from tests.cli.conftest import CONFIG
from tests.cluster.conftest import Cluster, until, why_not

TIMEOUT = 20
"""Seconds of the process group; configs/hardware/torchrun.yaml has more."""

OPTIONS = f"""
--config configs/hardware/torchrun.yaml --trainer.strategy.timeout 0:00:{TIMEOUT}
--data.max_tokens 32 --trainer.max_steps 1000 --trainer.val_check_interval 4 --trainer.enable_progress_bar false
--trainer.logger false --trainer.callbacks+=tests.cluster.two_nodes.Steps
"""


class Steps(Callback):
    """Notes each step in a file of the run, at a pace of 0.4 seconds."""

    def on_train_batch_start(self, trainer: Trainer, *args: Any) -> None:
        with Path(trainer.default_root_dir, "steps").open("a") as file:
            file.write(
                f"{time.time()} {os.getpid()} {trainer.global_step} {trainer.global_rank} {trainer.world_size}\n"
            )
        time.sleep(0.4)


class Step(NamedTuple):
    """A line of the file."""

    at: float
    process: int
    number: int
    rank: int
    world: int


class Training:
    """With an agent on each node.

    Args:
        cluster: of two nodes.
        folder: for what it writes.
    """

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self.run = cluster, folder / "run"
        self.config = folder / "tiny.yaml"
        self.config.write_text(CONFIG)

    def join(self, node: int) -> None:
        """Start the agent of a node."""
        settings = ["NODES=1:2", "HOST=node1:29500", "PROCESSES=1", "WAIT=5", f"PYTHONPATH={os.getcwd()}"]
        words = ["env", *settings, "scripts/torchrun.sh", self.run, "--config", self.config, *OPTIONS.split()]
        self.cluster.background("on", node, *words)

    def steps(self) -> list[Step]:
        path = self.run / "steps"
        lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
        return [Step(float(at), *map(int, rest)) for at, *rest in lines]

    def first(self, world: int, after: float) -> Step:
        """The first step of a new start with so many ranks."""
        old = {step.process for step in self.steps() if step.at <= after}

        def new() -> list[Step]:
            return [s for s in self.steps() if s.at > after and s.process not in old and s.world == world]

        until(new, 150, f"a step with {world} ranks")
        return new()[0]

    def trained(self, steps: int) -> None:
        until(lambda: any(step.number >= steps for step in self.steps()), 120, f"step {steps}")

    def kill(self, name: str, node: int, program: str) -> None:
        found = self.cluster.control("on", node, "pgrep", "-f", "--", program).split()
        self.cluster.control("on", node, "kill", f"-{name}", found[0])


def boot(training: Training) -> None:
    training.cluster.control("start-node", 2)
    time.sleep(1)
    training.join(2)


def mend(training: Training) -> None:
    """Within a minute the agent notices by itself; later it has given up."""
    training.cluster.control("heal", 2)
    time.sleep(10)
    if not training.cluster.control("on", 2, "sh", "-c", f"pgrep -f '^[^ ]*python.*{AGENT}' || true"):
        training.join(2)


WORKER, AGENT = "-u -m s2s_lightning fit", "s2s_lightning.cluster.torchrun"
Scenario = tuple[Callable[[Training], object], int, Callable[[Training], object] | None]

SCENARIOS: dict[str, Scenario] = {
    "a process is killed": (lambda t: t.kill("KILL", 2, WORKER), 2, None),
    "a process is stopped": (lambda t: t.kill("STOP", 2, WORKER), 2, None),
    "a node is switched off": (lambda t: t.cluster.control("kill-node", 2), 1, boot),
    "a cable is cut": (lambda t: t.cluster.control("cut", 2), 1, mend),
    "an agent is asked to end": (lambda t: t.kill("TERM", 2, AGENT), 1, lambda t: t.join(2)),
}
"""Name -> (what happens, the ranks with which training goes on, how the node comes back)."""


def observe(training: Training, scenario: Scenario) -> str:
    """Seconds until training goes on, and the steps made twice; then the same of the node's return."""
    happens, world, returns = scenario
    training.join(1)
    training.join(2)
    training.trained(10)
    found = []
    for change, ranks in [(happens, world), (returns, 2)]:
        if change is None:
            continue
        at = time.time()
        change(training)
        first = training.first(ranks, at)
        again = max(step.number for step in training.steps() if step.at < first.at) + 1 - first.number
        found.append(
            f"{first.at - at:4.0f} s until {ranks} rank{'s train' if ranks > 1 else ' trains'}, {again} steps again"
        )
        time.sleep(4)
    return "; node back: ".join(found)


def main(names: list[str]) -> None:
    if reason := why_not():
        sys.exit(reason)
    for name in names or SCENARIOS:
        with tempfile.TemporaryDirectory(prefix="s2s-") as folder:
            Path(folder).chmod(0o755)  # or munge refuses it
            cluster = Cluster(Path(folder) / "c")
            cluster.start()
            try:
                print(f"{name:26}", observe(Training(cluster, Path(folder)), SCENARIOS[name]), flush=True)
            finally:
                cluster.stop()


if __name__ == "__main__":
    main(sys.argv[1:])
