"""A conversation at a real terminal."""

import os
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

import s2s_lightning
from s2s_lightning.inference.generate.prompt import HISTORY
from tests.cli.conftest import Run

pty = pytest.importorskip("pty", reason="no pseudo-terminals on this system")
SECONDS = 90


class Terminal:
    """The other end of the terminal that a program runs at."""

    def __init__(self, arguments: list[str], cache: Path) -> None:
        self.ours, theirs = pty.openpty()
        program = [sys.executable, "-m", "s2s_lightning", *arguments]
        environment = {**os.environ, "S2S_LIGHTNING_CACHE": str(cache), "TERM": "dumb"}
        self.process = subprocess.Popen(
            program, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
        )
        os.close(theirs)

    def type(self, text: str) -> None:
        os.write(self.ours, text.encode())

    def read(self, wanted: str) -> str:
        """What appears until ``wanted`` does."""
        seen, end = "", time.monotonic() + SECONDS
        while wanted not in seen:
            ready, _, _ = select.select([self.ours], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"no {wanted!r} in {seen!r}"
            seen += os.read(self.ours, 4096).decode()
        return seen


def test_a_line_is_answered_and_remembered(trained: Run, tmp_path: Path) -> None:
    terminal = Terminal(["generate", str(trained.last)], tmp_path)
    try:
        terminal.read("> ")
        terminal.type("1 2 3\n")
        answer = terminal.read("\n> ").removeprefix("1 2 3").removesuffix("> ").strip()
        assert answer == s2s_lightning.load(trained.last).generate(["1 2 3"])[0]
        terminal.type("\x04")
        assert terminal.process.wait(SECONDS) == 0
        assert (tmp_path / HISTORY).read_text().split("\n")[-2] == "1 2 3"
    finally:
        terminal.process.kill()
        os.close(terminal.ours)
