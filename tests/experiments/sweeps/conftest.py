"""Sweeps whose trials are shell scripts of a few milliseconds."""

import csv
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

GRID = {"a": {"values": [1, 2, 3]}, "b": {"parameters": {"c": {"values": ["x", None]}}}}
REPORT = """report() { echo "{\\"value\\": $1}" >> $S2S_LIGHTNING_TRIAL/reports.jsonl; }\n"""
"""What a script reports by."""

Write = Callable[..., Path]


@pytest.fixture
def sweep_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a sweep file whose trials run a script, in a folder of its own that is the current one."""
    monkeypatch.chdir(tmp_path)

    def write(script: str = "report 1", **changes: Any) -> Path:
        (tmp_path / "trial.sh").write_text(REPORT + script)
        sweep = {
            "method": "grid",
            "metric": {"name": "val/loss", "goal": "minimize"},
            "parameters": GRID,
            "command": ["sh", "trial.sh", "${args_json}"],
            **changes,
        }
        path = tmp_path / "s.yaml"
        path.write_text(yaml.safe_dump({key: value for key, value in sweep.items() if value is not None}))
        return path

    return write


def table(folder: Path = Path("runs/sweeps/s")) -> list[dict[str, str]]:
    """The rows of a sweep's table, best first."""
    with (folder / "table.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def driver(*args: str) -> "subprocess.Popen[str]":
    """A sweep in a process of its own."""
    words = [sys.executable, "-m", "s2s_lightning", "sweep", *args]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
