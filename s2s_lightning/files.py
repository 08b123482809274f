"""Files as they are found: plain or compressed, read as a stream, errors that name the file and the line."""

import gzip
import io
import lzma
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import IO, BinaryIO, cast

import pyarrow as pa

from s2s_lightning.errors import UserError


def check_file(path: str) -> str:
    """The path itself.

    Raises:
        UserError: there is no such file; a file of nearly that name in the folder is suggested.
    """
    if Path(path).is_file():
        return path
    if Path(path).is_dir():
        raise UserError(f"{path} is a folder, and must be a file")
    folder = Path(path).parent
    if not folder.is_dir():
        raise UserError(f"{path}: no such file, nor is there a folder {folder} (looked from {Path.cwd()})")
    close = get_close_matches(Path(path).name, [entry.name for entry in folder.iterdir()], 1)
    raise UserError(f"{path}: no such file" + (f"; did you mean {folder / close[0]}?" if close else f" in {folder}"))


@contextmanager
def open_file(path: str) -> Iterator[BinaryIO]:
    """The bytes of a file, decompressed when its name ends in .gz, .xz or .zst.

    Raises:
        UserError: there is no such file, or it is not what its name says.
    """
    try:
        with open(check_file(path), "rb") as raw:
            yield _decompress(raw, Path(path).suffix)
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read to its end ({error}); fetch or make it again") from error


def _decompress(raw: IO[bytes], suffix: str) -> BinaryIO:
    if suffix == ".gz":
        return cast(BinaryIO, gzip.GzipFile(fileobj=raw))
    if suffix == ".xz":
        return cast(BinaryIO, lzma.LZMAFile(raw))
    if suffix == ".zst":
        # the package zstandard reads a truncated file without a word, and stops at the end of the first frame
        return io.BufferedReader(pa.CompressedInputStream(raw, "zstd"))
    return cast(BinaryIO, raw)


def read_lines(path: str) -> Iterator[str]:
    r"""The lines of a UTF-8 file. Only \n ends one; of \r\n both go, and so does a byte-order mark at the start.

    Raises:
        UserError: as ``open_file``, and for bytes that are not UTF-8, with their line.
    """
    with open_file(path) as file:
        yield from decode_lines(file, path)


def decode_lines(file: Iterable[bytes], path: str) -> Iterator[str]:
    """``read_lines`` of an open file; ``path`` is its name in errors."""
    for number, raw in enumerate(file, 1):
        line = raw.removesuffix(b"\n")
        if line != raw:
            line = line.removesuffix(b"\r")
        yield decode_utf8(line, path, number).removeprefix("\ufeff" if number == 1 else "")


def decode_utf8(line: bytes, path: str, number: int) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}, line {number}: not UTF-8 (byte {error.start + 1} is 0x{line[error.start]:02x}); "
            "convert the file, for example by iconv"
        ) from error
