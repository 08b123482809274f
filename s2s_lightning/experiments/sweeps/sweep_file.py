"""A W&B sweep file, read and checked."""

import json
from pathlib import Path
from typing import Any, Literal, cast

from s2s_lightning.config.yaml_files import read_yaml
from s2s_lightning.errors import UserError, closest, did_you_mean
from s2s_lightning.experiments.sweeps.command import command_line
from s2s_lightning.experiments.sweeps.space import GRID_KINDS, Parameter
from s2s_lightning.experiments.sweeps.space_file import parameters
from s2s_lightning.experiments.sweeps.sweep_settings import Metric, Stopping, Sweep

METHODS = ("grid", "random", "bayes")
FOR_WANDB = ("apiVersion", "kind", "controller", "description", "entity", "project", "name", "job", "image_uri")
"""Keys that say nothing to a sweep on one's own machines."""

KEYS = ("program", "command", "method", "metric", "parameters", "early_terminate", "run_cap", *FOR_WANDB)
METRIC_KEYS = ("name", "goal", "target", "impute", "impute_while_running")
STOPPING_KEYS = ("type", "min_iter", "max_iter", "s", "eta", "strict")
COMMAND = ["${env}", "${interpreter}", "${program}", "${args}"]
"""W&B's where the file has none."""


def read(path: Path) -> Sweep:
    """The sweep of a file.

    Raises:
        UserError: there is none, or it breaks a rule.
    """
    said = read_yaml(path)
    try:
        return from_settings(path.stem, said)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def from_settings(name: str, said: Any) -> Sweep:
    """The sweep of a file's content."""
    said = _mapping("the file", said, KEYS, needs=("method", "parameters"))
    try:
        json.dumps(said)
    except TypeError as error:  # YAML has dates
        kind = str(error).removeprefix("Object of type ").split()[0]
        raise UserError(f"a {kind} is no JSON; write it in quotes") from error
    if said["method"] not in METHODS:
        raise UserError(f"method={said['method']!r}: it must be one of {', '.join(METHODS)}")
    found = tuple(parameters(said["parameters"]))
    _check_names(found)
    command = said.get("command", COMMAND)
    if not isinstance(command, list) or not command:
        raise UserError(f"command={command!r}: it must be a list of words")
    if "${program}" in command and not said.get("program"):
        raise UserError("program is missing: the command has ${program} in it")
    cap = said.get("run_cap")
    if cap is not None and (not isinstance(cap, int) or cap < 1):
        raise UserError(f"run_cap={cap!r}: it must be a number of trials, 1 or more")
    sweep = Sweep(
        name=name,
        said={key: value for key, value in said.items() if key not in (*FOR_WANDB, "run_cap")},
        method=said["method"],
        metric=_metric(said.get("metric")),
        parameters=found,
        command=tuple(map(str, command)),
        program=said.get("program"),
        stopping=_stopping(said.get("early_terminate")),
        run_cap=cap,
    )
    _check_method(sweep)
    command_line(sweep, {}, Path())  # which refuses an unknown macro
    return sweep


def _mapping(where: str, said: Any, keys: tuple[str, ...], needs: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(said, dict):
        raise UserError(f"{where} must be a mapping with {', '.join(needs)}, and is {said!r}")
    for key in said:
        if key not in keys:
            raise UserError(f"{where} has {key}, which W&B's sweeps do not know{did_you_mean(closest(str(key), keys))}")
    for key in needs:
        if key not in said:
            raise UserError(f"{where} has no {key}, and needs one")
    return said


def _metric(said: Any) -> Metric:
    if said is None:
        raise UserError("metric is missing: without its name and goal no trial is better than another")
    said = _mapping("metric", said, METRIC_KEYS, needs=("name",))
    goal = said.get("goal", "minimize")
    if goal not in ("minimize", "maximize"):
        raise UserError(f"metric.goal={goal!r}: it must be minimize or maximize")
    target = said.get("target")
    if target is not None and not isinstance(target, int | float):
        raise UserError(f"metric.target={target!r}: it must be a number")
    return Metric(str(said["name"]), cast(Literal["minimize", "maximize"], goal), target)


def _stopping(said: Any) -> Stopping | None:
    """W&B's rungs: min_iter, min_iter * eta, ...; or max_iter / eta, max_iter / eta^2, ..., s of them."""
    if said is None:
        return None
    where = "early_terminate"
    said = _mapping(where, said, STOPPING_KEYS, needs=("type",))
    if said["type"] != "hyperband":
        raise UserError(f"{where}.type={said['type']!r}: it must be hyperband")
    eta = said.get("eta", 3)
    numbers = {key: value for key, value in {**said, "eta": eta}.items() if key not in ("type", "strict")}
    for key, value in numbers.items():
        least = 2 if key == "eta" else 1
        if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value) or value < least:
            raise UserError(f"{where}.{key}={value!r}: it must be a whole number, {least} or more")
    if "min_iter" in said:
        return Stopping(int(said["min_iter"]), int(eta))
    if "max_iter" not in said or "s" not in said:
        raise UserError(f"{where} needs min_iter, or max_iter and s")
    rungs = [rung for i in range(1, int(said["s"]) + 1) if (rung := int(said["max_iter"] / eta**i)) >= 1]
    if not rungs:
        raise UserError(f"{where}: max_iter={said['max_iter']} is below eta={eta}, so there is nothing to stop at")
    return Stopping(rungs[-1], int(eta))


def _check_names(found: tuple[Parameter, ...]) -> None:
    names = [parameter.name for parameter in found]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"parameters.{name} is there twice, once as a dotted name and once nested")


def _check_method(sweep: Sweep) -> None:
    if sweep.method != "grid":
        if not sweep.drawn:
            raise UserError(f"parameters: all are constant, and {sweep.method} has nothing to draw")
        return
    for parameter in sweep.drawn:
        if parameter.choices is None:
            raise UserError(
                f"parameters.{parameter.name}: a grid takes {', '.join(GRID_KINDS)} without probabilities, and this is "
                f"{parameter.kind}; give values, or take method random or bayes"
            )
        if not parameter.choices:
            raise UserError(f"parameters.{parameter.name}: there is no value between its min and max")
