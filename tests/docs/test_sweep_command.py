"""docs/experiments/sweep_command.md: its commands are understood, and its example is a sweep."""

import shlex

import pytest
import yaml

from s2s_lightning.cli.commands.sweep import arguments
from s2s_lightning.experiments.sweeps.sweep_file import from_settings
from tests.helpers.documents import blocks, commands

DOCUMENT = "docs/experiments/sweep_command.md"


@pytest.mark.parametrize("command", commands(DOCUMENT))
def test_a_command_of_the_document_is_understood(command: str) -> None:
    words = shlex.split(command)
    assert words[:4] == ["python", "-m", "s2s_lightning", "sweep"]
    assert arguments().parse(words[4:]).file.endswith(".yaml")


def test_the_example_is_a_sweep() -> None:
    (example,) = blocks(DOCUMENT, "yaml")
    assert from_settings("copy", yaml.safe_load(example)).run_cap
