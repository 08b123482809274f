"""An output is whole or not there, in its place, whatever stands there; and one line says where it cannot be."""

import os
import resource
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest
import torch

from s2s_lightning.errors import UserError
from s2s_lightning.files import check_output, refuse_overwriting, whole_file, write_whole, written_through

Way = Callable[[Path], AbstractContextManager[BinaryIO]]
WAYS = pytest.mark.parametrize("way", [whole_file, written_through])


def write(way: Way, path: Path, content: bytes = b"new") -> None:
    with way(path) as file:
        file.write(content)


@WAYS
def test_a_link_is_followed(tmp_path: Path, way: Way) -> None:
    (tmp_path / "link").symlink_to("target")
    for content in (b"first", b"second"):  # the target is missing, then there
        write(way, tmp_path / "link", content)
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "target").read_bytes() == content


@WAYS
def test_a_pipe_stays_one(tmp_path: Path, way: Way) -> None:
    os.mkfifo(tmp_path / "pipe")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    write(way, tmp_path / "pipe")
    reader.join()
    assert read == [b"new"]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


@WAYS
def test_a_device_stays_one_and_a_full_one_is_said(way: Way) -> None:
    write(way, Path("/dev/null"))
    with pytest.raises(UserError, match="/dev/full cannot be written: No space left on device"):
        write(way, Path("/dev/full"))
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


@WAYS
def test_a_descriptor_is_written_where_it_stands(tmp_path: Path, way: Way) -> None:
    with (tmp_path / "out").open("wb") as file:
        file.write(b"before ")
        file.flush()
        write(way, Path(f"/dev/fd/{file.fileno()}"))
    assert (tmp_path / "out").read_bytes() == b"before new"


def test_permissions_of_a_file_are_kept_and_a_new_ones_are_the_umasks(tmp_path: Path) -> None:
    (tmp_path / "old").touch(mode=0o640)
    for name in ("old", "new"):
        write_whole(tmp_path / name, "x")
    mask = os.umask(0)
    os.umask(mask)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("old", "new")] == [0o640, 0o666 & ~mask]


@contextmanager
def small_disk(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [10, 100_000])
def test_a_disk_that_fills_leaves_the_old_file(tmp_path: Path, size: int) -> None:
    (tmp_path / "out").write_text("old")
    with small_disk(5), pytest.raises(UserError, match="out cannot be written: File too large"):
        write(whole_file, tmp_path / "out", bytes(size))
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_what_a_library_makes_of_a_full_disk_is_one_line(tmp_path: Path) -> None:
    def save() -> None:
        with whole_file(tmp_path / "out") as file:
            torch.save(torch.zeros(100_000), file)

    with small_disk(5000), pytest.raises(UserError, match="out cannot be written: File too large"):
        save()
    assert not list(tmp_path.iterdir())


def test_an_error_of_the_work_is_not_the_outputs(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="elsewhere"), whole_file(tmp_path / "out"):
        (tmp_path / "elsewhere").read_text()
    assert not list(tmp_path.iterdir())


NAMES = {
    "": "it is a folder",
    "missing/out": "there is no folder .*missing",
    "file/out": "Not a directory",
    "x" * 300: "File name too long",
    "loop": "Too many levels of symbolic links",
    "a\0b": "null",
}


@pytest.mark.parametrize(("name", "why"), NAMES.items(), ids=["folder", "parent", "file", "long", "loop", "null"])
@pytest.mark.parametrize(
    "look", [check_output, lambda path: write(whole_file, path), lambda path: write(written_through, path)]
)
def test_what_can_be_no_output_is_said(tmp_path: Path, look: Callable[[Path], None], name: str, why: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UserError, match="cannot be written: ") as error:
        look(tmp_path / name)
    assert len(str(error.value)) < 400


def test_an_output_that_is_an_input_is_refused_by_any_of_its_names(tmp_path: Path) -> None:
    (tmp_path / "input").touch()
    (tmp_path / "link").symlink_to("input")
    with pytest.raises(UserError, match="would overwrite what is read"):
        refuse_overwriting(tmp_path / "link", None, tmp_path / "missing", tmp_path / "input")
    refuse_overwriting(tmp_path / "other", tmp_path / "input")


def test_the_reader_of_a_substitution_gets_all(tmp_path: Path) -> None:
    """A shell hands ``>(...)`` on as /dev/fd/63."""
    code = "from s2s_lightning.files import write_whole; import sys; write_whole(sys.argv[1], 'text')"
    script = f'"$0" -c "{code}" >(cat > {tmp_path}/out); wait $!; cat {tmp_path}/out'
    assert subprocess.run(["bash", "-c", script, sys.executable], capture_output=True, text=True).stdout == "text"


@pytest.mark.parametrize("buffered", ["", "1"])
@pytest.mark.parametrize("words", ["--help", "compare --references text -- text"])
def test_a_full_disk_behind_stdout_is_one_line(tmp_path: Path, buffered: str, words: str) -> None:
    (tmp_path / "text").write_text("a b c\n")
    environment = {**os.environ, "PYTHONUNBUFFERED": buffered, "PYTHONPATH": str(Path.cwd())}
    with open("/dev/full", "wb") as full:
        program = [sys.executable, "-m", "s2s_lightning", *words.split()]
        result = subprocess.run(program, stdout=full, stderr=subprocess.PIPE, text=True, env=environment, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr == "error: the output cannot be written: No space left on device\n"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
def test_a_closed_descriptor_is_no_traceback_and_no_other_file(tmp_path: Path, closed: str) -> None:
    (tmp_path / "text").write_text("a b c\n")
    script = f'"$0" -m s2s_lightning compare --references text -o out -- text {closed}'
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    program = ["bash", "-c", script, sys.executable]
    result = subprocess.run(program, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert result.returncode == 0
    assert "Traceback" not in result.stderr
    assert "BLEU" in (tmp_path / "out").read_text()
