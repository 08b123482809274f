"""Runs with an account, against a stand-in for W&B's server."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from lightning.pytorch import Callback, LightningModule, Trainer

from tests.cli.conftest import Run, done, fitted
from tests.tracking.conftest import SHOW, heard, leave_wandb
from tests.tracking.wandb_file import read
from tests.tracking.wandb_server import Server, serve

STEP = "trainer/global_step"
EVERY = ("--trainer.log_every_n_steps", 2, "--trainer.val_check_interval", 2)


@pytest.fixture(scope="module")
def server(_wandb: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With whom the client talks in this file."""
    with serve(tmp_path_factory.mktemp("server")) as server, pytest.MonkeyPatch.context() as patch:
        leave_wandb()
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server
        leave_wandb()


class Online(NamedTuple):
    """A run of four steps that keeps its checkpoints at W&B too."""

    local: Run
    id: str
    printed: list[str]


@pytest.fixture(scope="module")
def online(server: Server, config: Path, tmp_path_factory: pytest.TempPathFactory) -> Online:
    keep = ("--trainer.logger.checkpoints", "true", "--trainer.logger.tags", "[a, b]")
    with heard() as messages:
        run = fitted(tmp_path_factory.mktemp("online"), "--config", config, SHOW, *EVERY, *keep)
    (name,) = server.state.runs
    return Online(run, name, messages)


def steps(server: Server, online: Online, key: str) -> list[int]:
    """Where the server has a value."""
    return [row[STEP] for row in server.state.runs[online.id]["history"] if key in row]


def test_an_online_run_is_complete(server: Server, online: Online) -> None:
    run = server.state.runs[online.id]
    assert (run["state"], run["exitcode"], run["project"]) == ("finished", 0, "s2s_lightning")
    assert run["tags"] == ["a", "b"]
    config = yaml.safe_load((online.local.folder / "config.yaml").read_text())
    assert {key: run["config"][key]["value"] for key in config} == config
    assert steps(server, online, "train/loss") == steps(server, online, "val/loss") == [2, 4]
    picture = next(row["chart"]["filenames"][0] for row in run["history"] if "chart" in row and row[STEP] == 4)
    assert server.stored("runs", online.id, picture).read_bytes() == (online.local.folder / "chart.png").read_bytes()
    assert not server.unknown


def test_one_line_says_where_it_is(server: Server, online: Online) -> None:
    (line,) = (message for message in online.printed if "W&B" in message)
    assert line.endswith(f"{server.url}/local/s2s_lightning/runs/{online.id}")


def test_checkpoints_are_artifacts_under_their_aliases(server: Server, online: Online) -> None:
    kept = {alias: artifact for artifact in models(server) for alias in artifact["aliases"]}
    for alias, path in (("best", online.local.best), ("last", online.local.last)):
        artifact = kept[alias]
        assert artifact["state"] == "COMMITTED"
        assert server.stored("artifacts", artifact["id"], path.name).read_bytes() == path.read_bytes()
    assert len({artifact["collection"] for artifact in models(server)}) == 1


def models(server: Server) -> list[Any]:
    return [artifact for artifact in server.state.artifacts.values() if artifact["type"] == "model"]


@pytest.fixture(scope="module")
def resumed(server: Server, online: Online, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run goes on from its fourth to its eighth step, and is tested."""
    more = ("--trainer.max_steps", 8, "--trainer.logger.checkpoints", "false", "--test_best", "true")
    return fitted(tmp_path_factory.mktemp("resumed"), "--ckpt_path", online.local.last, *more)


def test_a_resumed_run_goes_on_in_the_same_place(server: Server, online: Online, resumed: Run) -> None:
    assert list(server.state.runs) == [online.id]
    run = server.state.runs[online.id]
    assert (run["state"], run["config"]["trainer"]["value"]["max_steps"]) == ("finished", 8)
    assert run["displayName"] == "/".join(online.local.folder.parts[-2:])
    assert steps(server, online, "train/loss") == steps(server, online, "val/loss") == [2, 4, 6, 8]
    assert steps(server, online, "test/loss") == [8]


def test_steps_that_a_run_makes_again_are_not_logged_again(
    server: Server, online: Online, resumed: Run, tmp_path: Path
) -> None:
    again = fitted(tmp_path, "--ckpt_path", online.local.last, "--trainer.max_steps", 10)
    assert "\n1.0,6," in (again.folder / "metrics.csv").read_text()
    assert steps(server, online, "train/loss") == [2, 4, 6, 8, 8, 10]
    every = [row[STEP] for row in server.state.runs[online.id]["history"]]
    assert every == sorted(every)


@pytest.fixture
def _new_session(server: Server) -> Iterator[None]:
    """For a test that sets variables of its own; the client reads them once a session."""
    leave_wandb()
    yield
    leave_wandb()


@pytest.mark.usefixtures("_new_session")
def test_an_evaluation_can_be_shown_in_the_run_of_its_training(
    server: Server, online: Online, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", online.id)
    done("test", "--ckpt_path", online.local.best, "--trainer.logger", "Wandb", "--trainer.default_root_dir", tmp_path)
    assert list(server.state.runs) == [online.id]
    (scores,) = tmp_path.glob("**/test_scores.json")
    run = server.state.runs[online.id]
    assert run["summary"]["test/bleu"] == json.loads(scores.read_text())["scores"]["bleu"]["value"]
    assert run["summary"]["val/loss"] > 0


class Unplug(Callback):
    """The server is gone from the first step on."""

    server: Server

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.mark.usefixtures("_new_session")
def test_a_network_that_goes_away_costs_no_run(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(tmp_path / "server") as own:
        monkeypatch.setattr(Unplug, "server", own, raising=False)
        monkeypatch.setenv("WANDB_BASE_URL", own.url)
        pulls = (f"--trainer.callbacks+={__name__}.Unplug", "--trainer.logger.settings", "{finish_timeout: 1}")
        run = fitted(tmp_path / "runs", "--config", config, *pulls)
    (file,) = run.folder.glob("wandb/run-*/*.wandb")
    end = time.monotonic() + 20  # W&B's own process may still write
    while not read(file).rows("val/loss"):  # all is there to be uploaded by wandb sync
        assert time.monotonic() < end
        time.sleep(0.1)
