"""docs/experiments/seeds.md: its commands are understood, and its table is what the report makes of its numbers."""

import shlex

import pytest

from s2s_lightning.cli.commands.seeds import parsed
from s2s_lightning.experiments.seeds.seeds_report import cells
from s2s_lightning.runs.results import Result
from tests.helpers.documents import blocks, commands

DOCUMENT = "docs/experiments/seeds.md"


@pytest.mark.parametrize("command", commands(DOCUMENT))
def test_a_command_of_the_document_is_understood(command: str) -> None:
    words = shlex.split(command)
    assert words[:4] == ["python", "-m", "s2s_lightning", "fit"]
    options, others = parsed(words[4:])
    assert options.seeds[:3] == [1, 2, 3]
    assert others[:2] == ["--config", "configs/lstm.yaml"]


def test_mean_and_deviation_in_the_document_are_those_of_its_seeds() -> None:
    text = blocks(DOCUMENT, "text")[0].splitlines()
    lines = [line.split() for line in text if line.startswith(("val/", "test/"))]
    found = {i: Result("val/loss", 400, {name: float(values[i]) for name, *values in lines}) for i in range(3)}
    body = {name: row for name, *row in cells(found)[1]}
    for name, *_, mean, deviation in lines:  # the document's seeds are rounded to four digits
        assert float(body[name][3]) == pytest.approx(float(mean), rel=1e-3)
        assert float(body[name][4]) == pytest.approx(float(deviation), rel=0.05)
