"""The command line of a trial, by the macros of W&B's agent."""

import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from s2s_lightning.errors import UserError, closest, did_you_mean
from s2s_lightning.experiments.sweeps.sweep_settings import Sweep

VARIABLE = re.compile(r"\$\{envvar:(\w+)\}")


def nested(values: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
    """The arguments as the agent has them: a parameter inside others is a mapping in a mapping."""
    arguments: dict[str, Any] = {}
    for path, value in values.items():
        inner = arguments
        for key in path[:-1]:
            inner = inner.setdefault(key, {})
        inner[path[-1]] = value
    return arguments


def command_line(sweep: Sweep, arguments: Mapping[str, Any], json_file: Path) -> list[str]:
    """The words to start; ``json_file`` is where the caller writes the arguments for ``${args_json_file}``.

    One departure: ``${interpreter}`` is the Python that runs the sweep, not whatever ``python`` is on the PATH.

    Raises:
        UserError: the agent knows no such macro.
    """
    macros = _macros(sweep, arguments, json_file)
    words: list[str] = []
    for word in sweep.command:
        word = VARIABLE.sub(lambda found: os.environ.get(found[1], found[1]), word)
        if word.startswith("${") and word.endswith("}"):
            if word[2:-1] not in macros:
                suggestion = did_you_mean(closest(word, [f"${{{name}}}" for name in macros]))
                raise UserError(f"command: W&B's agent has no macro {word}{suggestion}")
            words += macros[word[2:-1]]
        else:
            words.append(word)
    return words


def _macros(sweep: Sweep, arguments: Mapping[str, Any], json_file: Path) -> dict[str, list[str]]:
    plain = [f"{name}={value}" for name, value in arguments.items()]
    booleans = {name: value for name, value in arguments.items() if isinstance(value, bool)}
    return {
        "env": ["/usr/bin/env"],
        "interpreter": [sys.executable],
        "program": [str(sweep.program)],
        "args": [f"--{word}" for word in plain],
        "args_no_hyphens": plain,
        "args_no_equals": [word for name, value in arguments.items() for word in (f"--{name}", str(value))],
        "args_no_boolean_flags": [
            f"--{name}" if name in booleans else f"--{name}={value}"
            for name, value in arguments.items()
            if booleans.get(name, True)
        ],
        "args_json": [json.dumps(arguments)],
        "args_json_file": [str(json_file)],
        "args_append_hydra": [f"+{word}" for word in plain],
        "args_override_hydra": [f"++{word}" for word in plain],
    }
