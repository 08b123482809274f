"""A sweep file is read as W&B reads it, and refused in one line where it cannot work."""

import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

from s2s_lightning.errors import UserError
from s2s_lightning.experiments.sweeps.command import command_line, nested
from s2s_lightning.experiments.sweeps.sweep_file import from_settings
from s2s_lightning.experiments.sweeps.sweep_settings import Stopping, differences

PARAMETERS = {"a": {"values": [1, 2, 3]}, "b": {"parameters": {"c": {"values": ["x", None]}}}, "d": {"value": True}}
METRIC = {"name": "val/loss"}
SETTINGS: dict[str, Any] = {"method": "grid", "metric": METRIC, "parameters": PARAMETERS, "program": "p.py"}


def test_a_grid_has_each_combination_once() -> None:
    sweep = from_settings("s", SETTINGS)
    points = [tuple(sweep.point(i).items()) for i in range(sweep.grid_size or 0)]
    assert len(points) == len(set(points)) == 6
    assert points[:3] == [(("b.c", c), ("a", a)) for a, c in (("1", '"x"'), ("1", "null"), ("2", '"x"'))]


@pytest.mark.parametrize(
    "macro",
    [
        "args", "args_no_hyphens", "args_no_equals", "args_no_boolean_flags", "args_json", "args_append_hydra",
        "args_override_hydra",
    ],
)  # fmt: skip
def test_a_macro_is_what_wandbs_agent_makes_of_it(macro: str) -> None:
    values = {("a",): 1, ("b", "c"): None, ("b", "d"): 0.5, ("yes",): True, ("no",): False, ("s.t",): "x y"}
    arguments = nested(values)
    sweep = from_settings("s", {**SETTINGS, "command": ["run", f"${{{macro}}}"]})
    theirs = create_sweep_command_args({"args": {name: {"value": value} for name, value in arguments.items()}})
    assert command_line(sweep, arguments, Path("file.json")) == ["run", *theirs[macro]]


def test_the_command_names_interpreter_program_variables_and_the_json_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACE", "here")
    words = ["${env}", "${program}", "--at=${envvar:PLACE}/x", "${args_json_file}"]
    sweep = from_settings("s", {**SETTINGS, "command": words})
    assert command_line(sweep, {}, Path("file.json")) == ["/usr/bin/env", "p.py", "--at=here/x", "file.json"]


@pytest.mark.parametrize(
    ("said", "first"),
    [({"min_iter": 3}, 3), ({"max_iter": 27, "s": 2}, 3), ({"max_iter": 27, "s": 9}, 1), ({"max_iter": 20, "s": 1}, 6)],
)
def test_hyperbands_first_rung_is_wandbs(said: dict[str, int], first: int) -> None:
    sweep = from_settings("s", {**SETTINGS, "early_terminate": {"type": "hyperband", **said}})
    assert sweep.stopping == Stopping(first, 3)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"method": "gird"}, "method='gird': it must be one of grid, random, bayes"),
        ({"metirc": 1}, "metirc, which W&B's sweeps do not know: did you mean metric?"),
        ({"metric": None}, "metric is missing"),
        ({"metric": {"goal": "minimize"}}, "metric has no name"),
        ({"metric": {"name": "x", "goal": "min"}}, "metric.goal='min': it must be minimize or maximize"),
        ({"parameters": None}, "parameters=None: it must map"),
        ({"parameters": {"a": {"min": 0.0, "max": 1.0}}}, "a grid takes constant, categorical, int_uniform, q_uniform"),
        ({"parameters": {"a.b": {"value": 1}, "a": {"parameters": {"b": {"value": 1}}}}}, "a.b is there twice"),
        ({"method": "bayes", "parameters": {"a": {"value": 1}}}, "bayes has nothing to draw"),
        ({"command": "python x"}, "command='python x': it must be a list of words"),
        ({"program": None, "command": ["${program}"]}, "program is missing"),
        ({"parameters": {"a": {"value": date(2026, 1, 1)}}}, "a date is no JSON; write it in quotes"),
        ({"run_cap": 0}, "run_cap=0: it must be a number of trials"),
        ({"early_terminate": {"type": "median"}}, "early_terminate.type='median': it must be hyperband"),
        ({"early_terminate": {"type": "hyperband"}}, "needs min_iter, or max_iter and s"),
        ({"early_terminate": {"type": "hyperband", "min_iter": 1, "eta": 1.5}}, "eta=1.5: it must be a whole number"),
        ({"early_terminate": {"type": "hyperband", "max_iter": 2, "s": 1}}, "max_iter=2 is below eta=3"),
    ],
)
def test_a_mistake_is_told_with_its_rule(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError, match=re.escape(complaint)):
        from_settings("s", {**SETTINGS, **changes})


def test_an_unknown_macro_is_refused_with_the_right_one() -> None:
    with pytest.raises(UserError, match=re.escape("did you mean ${args_json_file}?")):
        from_settings("s", {**SETTINGS, "command": ["${args_jsonfile}"]})


def test_differences_are_named() -> None:
    old = {"a": {"max": 1, "min": 0}, "b": 1, "c": [1]}
    new = {"a": {"max": 2, "min": 0}, "c": [1, 2], "d": 3}
    assert list(differences(old, new)) == ["a.max was 1 and is 2", "b is gone", "c was [1] and is [1, 2]", "d is new"]
