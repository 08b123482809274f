"""What must answer at once imports nothing heavy."""

import subprocess
import sys

import pytest

LIGHT = {"torch", "lightning", "jsonargparse", "numpy"}
UNNEEDED = {"wandb", "datasets", "sacrebleu", "rapidfuzz"}


def imported_by(*args: str) -> set[str]:
    """The modules that a command has imported when it ends."""
    program = (
        "import sys\nfrom s2s_lightning.__main__ import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", program, *args], capture_output=True, text=True, check=True)
    assert result.stdout
    return set(result.stderr.split())


@pytest.mark.parametrize(
    "args", [["--help"], ["--version"], [], ["generate", "--help"], ["score", "--help"], ["average", "--help"]]
)
def test_help_imports_nothing_heavy(args: list[str]) -> None:
    assert not imported_by(*args) & LIGHT


def test_help_of_fit_imports_only_what_its_options_need() -> None:
    assert not imported_by("fit", "--help") & UNNEEDED
