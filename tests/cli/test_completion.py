"""The script that ``completion`` prints completes in a shell, without Python."""

import shutil
import subprocess
from pathlib import Path

import pytest

from s2s_lightning.cli.command_table import COMMANDS
from tests.cli.conftest import command, done

ASK = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($#-1)); COMPREPLY=()
PATH= _shtab_s2s_lightning
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script for bash."""
    path = tmp_path_factory.mktemp("completion") / "s2s_lightning.bash"
    path.write_text(done("completion", "bash").out)
    return path


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("ge", "generate"),
        ("fit --model.num_h", "--model.num_heads"),
        ("fit --data.max_t", "--data.max_tokens"),
        ("fit --config lu", "luong"),
        ("fit --config data/multi", "data/multi30k"),
        ("fit --model Trans", "Transformer"),
        ("test --decoding Gre", "Greedy"),
        ("generate --output_f", "--output_format"),
        ("sweep --par", "--parallel"),
    ],
)
def test_what_is_typed_is_completed(script: Path, typed: str, answer: str) -> None:
    words = ["bash", "-c", ASK, "bash", str(script), "s2s_lightning", *typed.split()]
    said = subprocess.run(words, capture_output=True, text=True, check=True)
    assert said.stdout.split() == [answer], said.stderr


def test_every_command_is_there(script: Path) -> None:
    text = script.read_text()
    assert all(f"_shtab_s2s_lightning_{name}_option_strings" in text for name in COMMANDS)


def test_a_shell_that_is_not_known_is_refused() -> None:
    assert command("completion", "fish").code == 2
