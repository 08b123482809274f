"""Any number given to any option works, or is refused in one line: hypothesis chooses them."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from s2s_lightning.checkpoints.checkpoint import leaves
from tests.bad_input.folder import make_files
from tests.cli.conftest import command, done

CLASSES = [
    "--schedule WarmupCosine",
    "--schedule InverseSqrt",
    "--decoding Beam",
    "--decoding Sampling",
    "--objective RDrop",
]
"""Choices whose options are tried, too."""

LEFT_OUT = (
    "num_nodes",
    "devices",
    "num_workers",
    "max_steps",
    "max_epochs",
    "run",
    "cache_dir",
    "layers",
    "model_registry",
)
"""Options that start processes or trainings without end, and names of folders."""

NUMBERS = st.one_of(
    st.sampled_from([".nan", ".inf", "-.inf", "0", "-1", "1e30", "-1e30", "1e-30", "10000000000000000000000000"]),
    st.integers(-3, 12).map(str),
    st.floats(-2, 2, allow_nan=False).map(lambda x: f"{x:.3f}"),
)


@pytest.fixture(scope="module", autouse=True)
def options(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[tuple[str, str]]]:
    """Each option that holds a number or nothing, with the classes that it needs."""
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("options"))
    make_files()
    found: dict[str, str] = {}
    for classes in ["", *CLASSES]:
        config = yaml.safe_load(done("fit", "--config", "tiny.yaml", *classes.split(), "--print_config").out)
        for name, value in leaves(config):
            numeric = value is None or (isinstance(value, int | float) and not isinstance(value, bool))
            if numeric and not any(part in name for part in LEFT_OUT):
                found.setdefault(name, classes)
    yield sorted(found.items())
    os.chdir(before)


@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_number_works_or_is_refused_in_one_line(data: st.DataObject, options: list[tuple[str, str]]) -> None:
    name, classes = data.draw(st.sampled_from(options))
    value = data.draw(NUMBERS)
    result = command("fit", "--config", "tiny.yaml", *classes.split(), f"--{name}={value}")
    assert result.code in (0, 2), result.err
    assert "Traceback" not in result.err
    assert len([line for line in result.err.splitlines() if line.startswith("error: ")]) == (result.code == 2)
