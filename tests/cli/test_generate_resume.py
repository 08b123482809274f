"""An output file that was stopped is continued, by the same command alone."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from s2s_lightning.inference.generate.continuation import ResumableFile
from tests.cli.conftest import Run, command, done

LINES = [f"{i % 6} {i % 5} {i % 4}" for i in range(11)]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("".join(line + "\n" for line in LINES))
    return path


@contextmanager
def stopped(monkeypatch: pytest.MonkeyPatch, after: int, torn: bytes) -> Iterator[None]:
    """Ctrl-C comes after so many windows, when some bytes more than them have reached the disk."""
    write = ResumableFile.write

    def interrupted(self: ResumableFile, lines: bytes, requests: list[object]) -> None:
        if self.done >= 2 * after:
            self._file.write(torn)
            raise KeyboardInterrupt
        write(self, lines, requests)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(ResumableFile, "write", interrupted)
        yield


@pytest.mark.parametrize(("after", "torn"), [(0, b""), (2, b"to"), (3, b"torn\n1 2")])
def test_a_run_that_was_stopped_is_continued_to_the_same_bytes(
    trained: Run, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int, torn: bytes
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    done("generate", trained.last, text, "-o", whole, "--window", 2)
    same = ["generate", trained.last, text, "-o", out, "--window", 2]
    with stopped(monkeypatch, after, torn):
        result = command(*same)
    assert result.code == 130
    assert "the same command continues" in result.err
    written = done(*same)
    assert out.read_bytes() == whole.read_bytes()
    assert (f"{2 * after} lines already" in written.err) == (after > 0)


def test_a_run_that_is_over_is_over(trained: Run, text: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done("generate", trained.last, text, "-o", out)
    first = out.read_bytes()
    assert "11 lines already" in done("generate", trained.last, text, "-o", out).err
    assert out.read_bytes() == first
    text.write_text(text.read_text() + "1 2\n")  # the input has grown
    done("generate", trained.last, text, "-o", out)
    assert out.read_bytes().startswith(first)
    assert out.read_bytes().count(b"\n") == len(LINES) + 1


def test_another_run_is_refused_by_what_differs(trained: Run, text: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    same = ["generate", trained.last, text, "-o", out]
    done(*same)
    first = out.read_bytes()
    assert "made with another scores (False, now True)" in command(*same, "--scores").err
    assert "made with another search" in command(*same, "--decoding", "Beam").err
    assert "made with another checkpoint" in command("generate", trained.best, text, "-o", out).err or (
        trained.best.read_bytes() == trained.last.read_bytes()
    )
    text.write_text(text.read_text().replace("0 0 0", "1 1 1"))
    assert "holds the answers to other lines than the first 11" in command(*same).err
    assert out.read_bytes() == first
    done(*same, "--scores", "--overwrite")
    assert out.read_bytes().count(b" ||| ") == 2 * len(LINES)


def test_a_file_of_somebody_else_is_left_alone(trained: Run, text: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_text("precious\n")
    result = command("generate", trained.last, text, "-o", out)
    assert result.code == 2
    assert "exists, and not from generate" in result.err
    assert out.read_text() == "precious\n"


def test_a_killed_run_is_continued_to_the_same_bytes(trained: Run, tmp_path: Path) -> None:
    """By SIGKILL, with two workers, whenever a window has been written."""
    text, whole, out = tmp_path / "text", tmp_path / "whole", tmp_path / "out"
    text.write_text("".join(f"{i % 6} {i % 5} {i % 4}\n" for i in range(2000)))
    done("generate", trained.last, text, "-o", whole)
    same = ["generate", trained.last, text, "-o", out, "--window", 50, "--processes", 2]
    program = [sys.executable, "-m", "s2s_lightning", *map(str, same)]
    with subprocess.Popen(program, stderr=subprocess.DEVNULL, start_new_session=True) as process:
        wait_for_lines(tmp_path / "out.run.json", process)
        os.killpg(process.pid, signal.SIGKILL)
    assert 0 < out.read_bytes().count(b"\n") < 2000
    assert "lines already" in done(*same).err
    assert out.read_bytes() == whole.read_bytes()


def wait_for_lines(record: Path, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + 90
    while not (record.exists() and json.loads(record.read_text())["done"]["lines"]):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_folder_of_a_run_and_an_exported_folder_take_an_output_file(
    trained: Run, text: Path, tmp_path: Path
) -> None:
    done("export", trained.best, "-o", tmp_path / "exported")
    outputs = []
    for number, checkpoint in enumerate((trained.best, trained.folder, tmp_path / "exported")):
        output = tmp_path / f"{number}.out"
        for _ in range(2):  # the second continues the first
            done("generate", checkpoint, text, "-o", output)
        outputs.append(output.read_text())
    assert outputs[0] == outputs[1] == outputs[2]
    (tmp_path / "exported" / "digests.json").unlink()
    assert command("generate", tmp_path / "exported", text, "-o", output).code == 2  # which is another model now
