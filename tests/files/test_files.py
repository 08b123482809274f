"""Law 19: a text file keeps its lines; and what is wrong with a file is said with its name and line."""

import gzip
import lzma
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest

from s2s_lightning.errors import UserError
from s2s_lightning.files import read_lines

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".zst": partial(pa.compress, codec="zstd", asbytes=True),
}


def written(folder: Path, content: bytes, ending: str = "") -> str:
    path = folder / f"text.en{ending}"
    path.write_bytes(COMPRESS[ending](content))
    return str(path)


@pytest.mark.parametrize("ending", COMPRESS)
@pytest.mark.parametrize("strange", ["\u2028", "\u2029", "\u0085", "\r", "\0", "\ufeff", "\x0b", "\x0c", "\x1c", ""])
def test_only_a_line_feed_ends_a_line(tmp_path: Path, strange: str, ending: str) -> None:
    lines = ["first", f"a{strange}b", strange, "", "last"]
    content = "".join(f"{line}\n" for line in lines).encode()
    expected = [line.removesuffix("\r") for line in lines]  # \r\n is the other end of a line
    assert list(read_lines(written(tmp_path, content, ending))) == expected


def test_a_file_without_a_last_line_feed_keeps_its_last_line(tmp_path: Path) -> None:
    assert list(read_lines(written(tmp_path, b"a\n\nb"))) == ["a", "", "b"]
    assert list(read_lines(written(tmp_path, b""))) == []


def test_line_ends_of_windows_and_a_byte_order_mark_are_no_text(tmp_path: Path) -> None:
    assert list(read_lines(written(tmp_path, b"\xef\xbb\xbfa\r\n\r\nb\r\n"))) == ["a", "", "b"]


def test_all_frames_of_a_zstandard_file_are_read(tmp_path: Path) -> None:
    path = tmp_path / "text.zst"
    path.write_bytes(b"".join(pa.compress(part, codec="zstd", asbytes=True) for part in (b"a\nb", b"c\n", b"d\n")))
    assert list(read_lines(str(path))) == ["a", "bc", "d"]


@pytest.mark.parametrize("ending", COMPRESS)
def test_bytes_that_are_not_utf8_are_named_with_their_line(tmp_path: Path, ending: str) -> None:
    with pytest.raises(UserError, match=r"text\.en.*, line 3: not UTF-8 \(byte 2 is 0xff\)"):
        list(read_lines(written(tmp_path, b"a\nb\nc\xff\nd\n", ending)))


@pytest.mark.parametrize("ending", [".gz", ".xz", ".zst"])
@pytest.mark.parametrize("broken", ["truncated", "plain"])
def test_a_broken_compressed_file_is_named(tmp_path: Path, ending: str, broken: str) -> None:
    content = bytes(range(256)) * 40
    path = tmp_path / f"text{ending}"
    path.write_bytes(COMPRESS[ending](b"abc\n" * 9 + content)[:-9] if broken == "truncated" else b"plain text\n" * 9)
    with pytest.raises(UserError, match=rf"text\{ending}"):
        list(read_lines(str(path)))


def test_a_missing_file_is_named_with_the_one_that_was_meant(tmp_path: Path) -> None:
    written(tmp_path, b"a\n")
    with pytest.raises(UserError, match=r"text\.eng: no such file; did you mean .*text\.en\?"):
        list(read_lines(str(tmp_path / "text.eng")))
    with pytest.raises(UserError, match="nor is there a folder"):
        list(read_lines(str(tmp_path / "nowhere" / "text.en")))
