"""The real W&B client and agent in a folder of tiny configurations, against a server on the loopback.

``S2S_LIGHTNING_SWEEPS_PYTHON`` names a Python that has W&B's own ``sweeps`` package (its search, its hyperband, its
schema), which wants an older numpy than we do: ``.ci/run`` makes one. What needs it is skipped without it.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.cli.conftest import config, trained

__all__ = ["config", "trained"]  # fixtures of the command line's tests

ROOT = Path(__file__).resolve().parents[2]
ENGINE = "S2S_LIGHTNING_SWEEPS_PYTHON"
SHIPPED = sorted((ROOT / "sweeps").glob("*.yaml"))
PATIENCE = 240  # seconds, for a machine that is busy with other tests

TINY = {
    "data": {
        "corpus": {
            "class_path": "Generated",
            "init_args": {"max_length": 3, "symbols": 6, "train_pairs": 60, "val_pairs": 8, "test_pairs": 8},
        },
        "max_tokens": 128,
    },
    "trainer": {"max_epochs": 2, "accelerator": "cpu", "enable_progress_bar": False},
    "attention": {"num_items": 0},
}
"""What makes a shipped configuration a matter of seconds."""

Json = dict[str, Any]


@pytest.fixture(scope="session")
def engine() -> str:
    """The Python that has W&B's ``sweeps`` package."""
    if not (python := os.environ.get(ENGINE)):
        pytest.skip(f"{ENGINE} names no Python with W&B's `sweeps` package")
    return python


class Desk(NamedTuple):
    """Where a user of W&B sits: a folder, and the variables that lead to the server."""

    folder: Path
    variables: dict[str, str]
    processes: list["subprocess.Popen[str]"]

    def start(self, *command: object, **variables: str) -> "subprocess.Popen[str]":
        """Run a command; its output is in one stream."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
        process = subprocess.Popen(
            [*map(str, command)], cwd=self.folder, env={**own, **self.variables, **variables}, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        self.processes.append(process)
        return process

    def sweep(self, file: Path | Json) -> str:
        """``wandb sweep FILE``: its ID."""
        if isinstance(file, dict):
            path = self.folder / f"{len(self.processes)}.yaml"
            path.write_text(yaml.safe_dump(file, sort_keys=False))
            file = path
        output = finished(self.start("wandb", "sweep", file))
        found = re.search(r"wandb agent (\S+)", output)
        assert found, output
        return found[1]

    def agent(self, sweep: str, *options: object, **variables: str) -> "subprocess.Popen[str]":
        """``wandb agent ID``."""
        return self.start("wandb", "agent", *options, sweep, **variables)

    def state(self) -> Json:
        """What the server knows."""
        with urllib.request.urlopen(f"{self.variables['WANDB_BASE_URL']}/_state") as answer:
            content: Json = json.load(answer)
        return content

    def trials(self, sweep: str) -> list[Json]:
        """The runs of a sweep."""
        return [run for run in self.state()["runs"].values() if run["sweep"] == sweep.rpartition("/")[2]]

    def ask_to_stop(self, run: Json) -> None:
        """What early termination does at the server."""
        url = f"{self.variables['WANDB_BASE_URL']}/_stop/{run['name']}"
        urllib.request.urlopen(urllib.request.Request(url, b"", method="POST")).close()


def finished(process: "subprocess.Popen[str]") -> str:
    """The output of a command that must succeed."""
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output
    return output


def eventually(condition: Callable[[], Any]) -> Any:
    """What the condition returns once it holds."""
    for _ in range(PATIENCE * 2):
        if value := condition():
            return value
        time.sleep(0.5)
    raise AssertionError(f"not in {PATIENCE} seconds")


def end_session(process: "subprocess.Popen[str]") -> None:
    """End a command and all that it has started: an agent's trials are in groups of their own, but in its session."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            session = int(status.read_text().rpartition(")")[2].split()[3])
        except (OSError, IndexError):  # it has ended meanwhile
            continue
        if session == process.pid:
            os.kill(int(status.parent.name), signal.SIGKILL)
    process.wait()


@contextmanager
def served(folder: Path) -> Iterator[dict[str, str]]:
    """The stand-in for W&B, with W&B's engine if there is one: the variables that lead to it."""
    command = [os.environ.get(ENGINE, sys.executable), "-W", "ignore", "-m", "tests.tracking.wandb_server"]
    command += ["--port", "0", "--folder", str(folder)]
    with (
        (folder.parent / "server.log").open("w") as log,  # connections that a killed client has left
        subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=log) as server,
    ):
        assert server.stdout is not None
        yield dict(word.split("=", 1) for word in server.stdout.readline().split())
        server.kill()


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A folder with the shipped sweeps, and with tiny configurations of the names that they know."""
    folder, private = tmp_path_factory.mktemp("desk"), tmp_path_factory.mktemp("private")
    shutil.copytree(ROOT / "sweeps", folder / "sweeps")
    (folder / "configs").mkdir()
    for path in (ROOT / "configs").glob("*.yaml"):
        (folder / "configs" / path.name).write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **TINY}))
    python = Path(sys.executable).parent
    own = {
        "HOME": str(private), "PYTHONPATH": str(ROOT), "PATH": f"{python}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1", "WANDB__FILE_STREAM_TRANSMIT_INTERVAL": "1",
    }  # fmt: skip
    with served(private / "server") as theirs:
        desk = Desk(folder, {**own, **theirs}, [])
        yield desk
        for process in desk.processes:
            end_session(process)
