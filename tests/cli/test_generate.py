"""generate: one line out for each line in, in their order."""

import io
import sys
from pathlib import Path

import pytest

import s2s_lightning
from s2s_lightning.commands import generate
from s2s_lightning.decoding import Beam
from tests.cli.conftest import Run, command, done

LINES = ["1 2 3", "", "4", "5 6 7 1 2 3 4", "1 2 3", "one\u2028line \u0085", "a</s> \x00"]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_bytes("".join(line + "\n" for line in LINES).encode())
    return path


def test_each_line_has_its_line_whatever_is_batched_with_it(
    trained: Run, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generate, "WINDOW", 2)
    done("generate", trained.last, text, "-o", tmp_path / "out.txt", "--max_tokens", 8)
    lines = (tmp_path / "out.txt").read_bytes().decode().split("\n")
    model = s2s_lightning.load(trained.last)
    assert lines == [*(model.generate([line])[0] for line in LINES), ""]


def test_stdin_and_stdout_are_the_defaults(
    trained: Run, text: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.read_bytes())))
    generate.run("generate", [str(trained.last)])
    out = capfdbinary.readouterr().out.decode()
    assert out == "".join(line + "\n" for line in s2s_lightning.load(trained.last).generate(LINES))


def test_an_empty_file_gives_no_line(trained: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    done("generate", trained.last, tmp_path / "empty", "-o", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b""


def test_the_search_can_be_changed(trained: Run, text: Path, tmp_path: Path) -> None:
    search = ["--decoding", "Beam", "--decoding.beam_size", "3", "--decoding.max_length=2"]
    done("generate", *search, trained.last, text, "-o", tmp_path / "out")
    expected = s2s_lightning.load(trained.last).generate(LINES, Beam(beam_size=3, max_length=2))
    assert (tmp_path / "out").read_text().split("\n")[:-1] == expected


def test_bytes_that_are_no_utf8_are_named_by_their_line(trained: Run, tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"1 2\n\xe9t\xe9\n")
    result = command("generate", trained.last, tmp_path / "latin")
    assert result.code == 2
    assert "latin, line 2: not UTF-8" in result.err
    assert result.err.count("\n") == 1


def test_a_line_break_inside_an_output_does_not_make_a_line(trained: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert generate.line("a\nb") == b"a b\n"
    assert generate.line("a\u2028b") == "a\u2028b\n".encode()
