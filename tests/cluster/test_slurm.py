"""Trainings on two nodes of a real SLURM: preempted, requeued, and as if they never had been."""

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from tests.cli.conftest import done
from tests.cluster.conftest import Cluster, until
from tests.experiments.sweeps.conftest import Write, sweep_file, table

__all__ = ["sweep_file"]  # a fixture of the sweeps' tests

ROOT = Path(__file__).parents[2]
CONFIG = """
model:
  class_path: Transformer
  init_args: {d_model: 16, num_heads: 2, d_ff: 32, num_encoder_layers: 1, num_decoder_layers: 1, dropout: 0.1}
data:
  corpus:
    class_path: Generated
    init_args: {task: copy, max_length: 4, symbols: 6, train_pairs: 120, val_pairs: 24, test_pairs: 8}
  max_tokens: 32
trainer:
  max_steps: 24
  accelerator: cpu
  val_check_interval: 8
  check_val_every_n_epoch: null
  log_every_n_steps: 4
  enable_progress_bar: false
"""
SLOW = (
    "--trainer.callbacks+=tests.cluster.pace.Pace",
    "--trainer.callbacks.step=0.2",
    "--trainer.callbacks.behind=0.1",
)


class Place(NamedTuple):
    """Where jobs are submitted, as a checkout of the repository has it."""

    folder: Path
    cluster: Cluster

    def submit(self, *args: str, **environment: str) -> str:
        """A training; the number of its job."""
        told = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled", **environment}
        options = ("--parsable", f"--output={self.folder}/%j.log", f"--chdir={self.folder}", "--cpus-per-task=1")
        return self.cluster.login("sbatch", *options, ROOT / "scripts/slurm.sbatch", "tiny.yaml", *args, **told).strip()

    def run(self, job: str) -> Path:
        return self.folder / "runs" / f"tiny-{job}"

    def log(self, job: str) -> str:
        return (self.folder / f"{job}.log").read_text()

    def reaches(self, job: str, text: str, seconds: float = 60) -> None:
        """Wait for the first rank to be at a step or in a validation."""
        note = self.run(job) / "rank0"
        until(lambda: note.exists() and note.read_text() == text, seconds, f"{text} of job {job}")

    def ends(self, job: str, seconds: float = 90) -> None:
        """Wait for a training that ends well."""
        assert self.cluster.wait(job, "COMPLETED", "FAILED", "CANCELLED", seconds=seconds) == "COMPLETED", self.log(job)


@pytest.fixture(scope="module")
def place(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("place")
    (folder / "configs").symlink_to(ROOT / "configs")
    (folder / "tiny.yaml").write_text(CONFIG)
    return Place(folder, cluster)


class Wandb(NamedTuple):
    """A stand-in for its server where the first rank finds it."""

    cluster: Cluster
    port: int

    @property
    def environment(self) -> dict[str, str]:
        return {"WANDB_BASE_URL": f"http://127.0.0.1:{self.port}", "WANDB_API_KEY": "0" * 40, "WANDB_MODE": "online"}

    def runs(self) -> dict[str, Any]:
        """What it knows; empty before it answers."""
        fetch = f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:{self.port}/_state').read().decode())"
        try:
            return json.loads(self.cluster.control("on", 1, sys.executable, "-c", fetch))["runs"]
        except subprocess.CalledProcessError:
            return {}


@pytest.fixture
def wandb(cluster: Cluster, tmp_path: Path) -> Iterator[Wandb]:
    server = Wandb(cluster, 8899)
    words = ["-m", "tests.tracking.wandb_server", "--port", server.port, "--folder", tmp_path]
    with cluster.background("on", 1, sys.executable, *words) as process:
        until(lambda: process.stdout.readline() if process.stdout else True, 20, "W&B answers")
        yield server
        cluster.signal(1, "KILL", "tests.tracking.wandb_server")


def preempt(place: Place) -> str:
    """A job that takes both nodes and is over at once; its number."""
    options = ("--partition=urgent", "--nodes=2", "--exclusive", f"--output={place.folder}/urgent.log", "--wrap=true")
    return place.cluster.login("sbatch", "--parsable", *options).strip()


def rows(run: Path, column: str) -> list[tuple[int, float]]:
    """Step and value, from metrics.csv."""
    with (run / "metrics.csv").open(newline="") as file:
        return [(int(row["step"]), float(row[column])) for row in csv.DictReader(file) if row[column]]


def test_a_preempted_job_is_requeued_and_trains_what_it_would_have(place: Place, wandb: Wandb) -> None:
    straight = place.submit()
    place.ends(straight)
    job = place.submit(*SLOW, **wandb.environment)
    place.reaches(job, "step 11")
    preempt(place)
    place.ends(job)
    assert place.cluster.shown(job, "Restarts") == "1"
    assert "Traceback" not in place.log(job)

    never, preempted = (torch.load(place.run(n) / "checkpoints" / "last.ckpt") for n in (straight, job))
    assert never["global_step"] == preempted["global_step"] == 24
    torch.testing.assert_close(preempted["state_dict"], never["state_dict"], rtol=0, atol=0)
    torch.testing.assert_close(preempted["optimizer_states"], never["optimizer_states"], rtol=0, atol=0)

    for column in ("val/loss", "val/bleu"):
        assert rows(place.run(job), column) == rows(place.run(straight), column)
    ((_, run),) = wandb.runs().items()
    assert (run["state"], run["exitcode"]) == ("finished", 0)
    logged = [(row["trainer/global_step"], row["val/loss"]) for row in run["history"] if "val/loss" in row]
    assert logged == rows(place.run(straight), "val/loss")
    assert json.loads((place.run(job) / "run.json").read_text())["hardware"]["nodes"] == 2


def test_a_sweep_is_an_array_job_over_one_study(cluster: Cluster, sweep_file: Write) -> None:
    grid = {"a": {"values": [1, 2]}, "b": {"value": "x"}}
    file = sweep_file("""report $(echo $1 | sed 's/.*"a": \\([0-9]\\).*/\\1/')""", parameters=grid)
    sweep = (sys.executable, "-m", "s2s_lightning", "sweep", str(file))
    said = cluster.login(*sweep, "--slurm=--ntasks=1 --nodes=1", PYTHONPATH=str(ROOT))
    assert "Submitted batch job" in said
    until(lambda: not cluster.login("squeue", "--noheader").strip(), 60, "the end of the array")
    done("sweep", file, "--at_most", 0)
    assert sorted((row["a"], float(row["val/loss"])) for row in table()) == [("1", 1.0), ("2", 2.0)]
