"""Sweeps as they are typed: ``wandb sweep``, ``wandb agent``, and what W&B has in the end."""

from pathlib import Path

import pytest
import torch
import yaml

from tests.tracking.sweeps.conftest import SHIPPED, Desk, Json, eventually, finished

pytestmark = pytest.mark.slow

FIT = ["${env}", "${interpreter}", "-m", "s2s_lightning", "fit", "--config", "configs/transformer.yaml"]
WITHOUT_END = ["--trainer.max_epochs", "1000000", "--trainer.callbacks+=tests.tracking.sweeps.trials.Slow"]


def sweep(parameters: Json, *options: str, **settings: object) -> Json:
    """A grid over the tiny Transformer."""
    command = [*FIT, *options, "--config", "${args_json_file}"]
    return {"program": "s2s_lightning", "method": "grid", "command": command, "parameters": parameters, **settings}


def value(run: Json, name: str) -> object:
    """Of a run's configuration."""
    return run["config"][name]["value"]


def log(run: Json) -> str:
    """What the run has written, as W&B has it."""
    return "\n".join(run["console"].values())


def folder_of(run: Json, desk: Desk) -> Path:
    """The run's folder, which its last words name."""
    line = next(line for line in log(run).splitlines() if "run folder" in line)
    return desk.folder / line.split()[-1]


def test_the_shipped_sweeps_run_as_typed(desk: Desk) -> None:
    sweeps = {path.stem: desk.sweep(Path("sweeps") / path.name) for path in SHIPPED}
    for agent in [desk.agent(sweeps[name], "--count", 1) for name in sweeps if name != "decoding"]:
        finished(agent)
    finished(desk.agent(sweeps["decoding"], "--count", 1))  # of the newest checkpoint of the others
    for path in SHIPPED:
        file, (run,) = yaml.safe_load(path.read_text()), desk.trials(sweeps[path.stem])
        assert (run["state"], run["exitcode"]) == ("finished", 0)
        assert file["parameters"].keys() <= run["config"].keys()
        metric = file["metric"]["name"]
        assert run["summary"][metric] == [row[metric] for row in run["history"] if metric in row][-1]
    assert not desk.state()["unknown"]


def test_two_agents_share_a_grid_and_go_on_after_failures(desk: Desk) -> None:
    callbacks = [None, "tests.tracking.sweeps.trials.Fails", "tests.tracking.sweeps.trials.Unknown"]
    trusted = ["--trust", "tests.tracking.sweeps.trials"]  # the server names classes of it
    name = desk.sweep(sweep({"trainer.callbacks": {"values": callbacks}}, *trusted))
    for agent in [desk.agent(name), desk.agent(name)]:
        finished(agent)
    good, fails, refused = sorted(desk.trials(name), key=lambda run: callbacks.index(value(run, "trainer.callbacks")))
    assert (good["state"], good["exitcode"]) == ("finished", 0)
    assert (fails["state"], refused["state"]) == ("failed", "failed")
    assert "the trial has failed in training" in log(fails)
    assert "error: --trainer.callbacks=tests.tracking.sweeps.trials.Unknown" in log(refused)
    assert {run["agent"] for run in (good, fails, refused)} == {a["id"] for a in desk.state()["agents"].values()
                                                               if a["sweep"] == good["sweep"]}  # fmt: skip


def test_a_stopped_trial_of_two_processes_ends_well_and_is_one_run(desk: Desk) -> None:
    ddp = ["--trainer.devices", "2", "--trainer.strategy", "ddp", *WITHOUT_END]
    name = desk.sweep(sweep({"seed_everything": {"values": [1]}}, *ddp))
    agent = desk.agent(name, "--count", 1)
    eventually(lambda: any("val/loss" in row for run in desk.trials(name) for row in run["history"]))
    desk.ask_to_stop(desk.trials(name)[0])
    finished(agent)
    (run,) = desk.trials(name)
    assert run["exitcode"] == 0
    assert len(value(run, "_wandb")["e"]) == 1  # type: ignore[index]  # environments of its writers
    assert_ended_well(run, desk)


def test_hyperband_ends_the_worse_trial(engine: str, desk: Desk) -> None:
    rates = {"optimizer.init_args.lr": {"values": [1e-9, 10.0]}}
    band = {"type": "hyperband", "min_iter": 1, "eta": 3}
    metric = {"name": "val/loss", "goal": "minimize"}
    name = desk.sweep(sweep(rates, *WITHOUT_END, metric=metric, early_terminate=band))
    agents = [desk.agent(name, "--count", 1), desk.agent(name, "--count", 1)]
    worse = eventually(lambda: [run for run in desk.trials(name) if run["exitcode"] is not None])
    assert [value(run, "optimizer.init_args.lr") for run in worse] == [10.0]
    for run in desk.trials(name):
        desk.ask_to_stop(run)
    for agent in agents:
        finished(agent)
    for run in desk.trials(name):
        assert run["exitcode"] == 0
        assert_ended_well(run, desk)


def assert_ended_well(run: Json, desk: Desk) -> None:
    """It says that it was stopped, has validated its last step, and has left its checkpoints."""
    assert "the sweep stops this trial at step" in log(run)
    checkpoints = folder_of(run, desk) / "checkpoints"
    last = torch.load(checkpoints / "last.ckpt", weights_only=True)["global_step"]
    validated = [row["trainer/global_step"] for row in run["history"] if "val/loss" in row]
    assert validated[-1] == last
    assert (checkpoints / "best.ckpt").is_file()
