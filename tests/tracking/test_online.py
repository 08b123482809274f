"""Runs with an account, against a stand-in for W&B's server."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.cli.conftest import Run, fitted
from tests.tracking.conftest import SHOW, heard, leave_wandb
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
    """The run goes on from its fourth to its eighth step."""
    more = ("--trainer.max_steps", 8, "--trainer.logger.checkpoints", "false")
    return fitted(tmp_path_factory.mktemp("resumed"), "--ckpt_path", online.local.last, *more)


def test_a_resumed_run_goes_on_in_the_same_place(server: Server, online: Online, resumed: Run) -> None:
    assert list(server.state.runs) == [online.id]
    run = server.state.runs[online.id]
    assert (run["state"], run["config"]["trainer"]["value"]["max_steps"]) == ("finished", 8)
    assert run["displayName"] == "/".join(online.local.folder.parts[-2:])
    assert steps(server, online, "train/loss") == steps(server, online, "val/loss") == [2, 4, 6, 8]


def test_steps_that_a_run_makes_again_are_not_logged_again(
    server: Server, online: Online, resumed: Run, tmp_path: Path
) -> None:
    again = fitted(tmp_path, "--ckpt_path", online.local.last, "--trainer.max_steps", 10)
    assert "\n1.0,6," in (again.folder / "metrics.csv").read_text()
    assert steps(server, online, "train/loss") == [2, 4, 6, 8, 8, 10]
    every = [row[STEP] for row in server.state.runs[online.id]["history"]]
    assert every == sorted(every)
