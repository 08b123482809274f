"""Bad input ends with exit code 2 and one line that names it: for every command, in one process."""

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bad_input.folder import damage, make_files
from tests.bad_input.inputs import ALL
from tests.cli.conftest import command, done

BEST = "run/checkpoints/best.ckpt"


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The working folder of all commands here."""
    before, here = Path.cwd(), tmp_path_factory.mktemp("bad_input")
    os.chdir(here)
    make_files()
    done("fit", "--config", "tiny.yaml", "--run", "run")
    damage(Path(BEST))
    yield here
    os.chdir(before)


@pytest.mark.parametrize(("typed", "said"), ALL.items(), ids=ALL)
def test_bad_input_is_refused_in_one_line(typed: str, said: str) -> None:
    words = shlex.split(typed.replace("TINY", "fit --config tiny.yaml").replace("BEST", BEST))
    result = command(*words)
    assert result.code == 2, result
    (line,) = [line for line in result.err.splitlines() if line.startswith("error: ")]
    assert said in line
    assert "Traceback" not in result.err


def test_nothing_of_a_run_is_lost_to_bad_input() -> None:
    assert sorted(path.name for path in Path("run/checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    assert not list(Path().rglob("*.partial"))
