"""Each option of ours on the page for those who come from another toolkit is one."""

import re

import pytest

from s2s_lightning.cli.command_table import COMMANDS
from s2s_lightning.cli.commands import average, compare, generate
from s2s_lightning.cli.fit import option_parser
from s2s_lightning.config.parser import nested_options
from tests.helpers.documents import ROOT

TEXT = (ROOT / "docs/start/coming_from.md").read_text()
OURS = [line.split(" | ")[-1] for line in TEXT.splitlines() if line.startswith("| ") and "---" not in line]
OPTIONS = sorted({name for cell in OURS for name in re.findall(r"--([a-z][\w.]*)", cell)})


@pytest.fixture(scope="module")
def known() -> set[str]:
    """Options of the commands that the page names."""
    others = [action for module in (average, compare, generate) for action in module.arguments()._actions]
    names = {name.lstrip("-") for action in others for name in action.option_strings}
    return {"config", "references", "resume", *nested_options(option_parser("fit")), *names}


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_of_the_page_exists(option: str, known: set[str]) -> None:
    # options of the trainer are Lightning's own, which its parser lists by their groups
    assert option in known


def test_the_commands_of_the_page_exist() -> None:
    named = {cell.split("`")[1].split()[0] for cell in OURS if re.match(r"`[a-z]+ ", cell)}
    assert named - COMMANDS.keys() <= {"wandb"}
