"""Files as they are found: plain or compressed, read as a stream, errors that name the file and the line."""

import io
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NoReturn, cast

from s2s_lightning.errors import UserError
from s2s_lightning.files.file_names import OPEN_FILE, open_already, reason, shown

MAGIC = {b"\x1f\x8b": ".gz", b"\xfd7zXZ\0": ".xz", b"\x28\xb5\x2f\xfd": ".zst"}
"""First bytes -> the ending of a compressed file. No UTF-8 text begins with any of them."""

SKIPPABLE = tuple(bytes([i]) + b"\x2a\x4d\x18" for i in range(0x50, 0x60))
"""First bytes of a Zstandard file that begins with a frame for other programs; they may also begin a text."""


def check_file(path: str) -> str:
    """Return the path of a regular file that can be read several times.

    Raises:
        UserError: there is no such file (one of nearly that name is suggested), or it is a folder or a pipe, or its
            content is not compressed as its name says.
    """
    if not _exists(path):
        _refuse_missing(path)
    if not stat.S_ISREG(os.stat(path).st_mode):
        if Path(path).is_dir():
            raise UserError(f"{path} is a folder, and must be a file")
        raise UserError(f"{path} is a pipe or a device, which can be read once: give a file, which is read again")
    try:
        with open(path, "rb") as file:
            compression(path, file.read(6))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    return path


def can_be_read_again(path: str) -> bool:
    """True if the path is a regular file, which a pipe or a terminal is not."""
    return Path(path).is_file() and not OPEN_FILE.fullmatch(path)


def compression(path: str, beginning: bytes) -> str:
    """Return the ending that stands for how a file is compressed, or "" for a plain one.

    The content decides: text under a plain name may be compressed.

    Args:
        path: its name.
        beginning: its first 6 bytes, or all of a shorter file.

    Raises:
        UserError: the name says a compression that the content has not.
    """
    named = Path(path).suffix
    found = next((ending for magic, ending in MAGIC.items() if beginning.startswith(magic)), "")
    if named == ".zst" and beginning[:4] in SKIPPABLE:
        found = named
    if named in MAGIC.values() and found != named:
        content = f"compressed as {found}" if found else "empty" if not beginning else "not compressed"
        raise UserError(f"{path}: its name says {named}, but its content is {content}; rename it, or make it again")
    return found


@contextmanager
def open_file(path: str) -> Iterator[BinaryIO]:
    """Yield the bytes of a file, a pipe or a device, decompressed where its content is .gz, .xz or .zst.

    Raises:
        UserError: there is no such file, or it is not what its name says, or it cannot be read to its end.
    """
    import lzma  # heavy, as gzip is: the command line answers before it loads anything
    import zlib

    if not _exists(path):
        _refuse_missing(path)
    try:
        with open_raw(path) as raw:
            yield _decompress(raw, compression(path, raw.peek(6)[:6]))
    except BrokenPipeError:  # of an output that is written meanwhile
        raise
    except IsADirectoryError as error:
        raise UserError(f"{path} is a folder, and must be a file") from error
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        if isinstance(error, OSError) and error.filename not in (None, path):
            raise  # of another file
        raise UserError(f"{path}: cannot be read to its end ({error}); fetch or make it again") from error


def open_raw(path: str) -> io.BufferedReader:
    """Open a file for reading; a name such as /dev/stdin also works where that is a socket."""
    number = open_already(path)
    return open(path if number is None else os.dup(number), "rb")


def _exists(path: str) -> bool:
    """True if something stands there.

    Raises:
        UserError: the path can name nothing.
    """
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        raise UserError(f"{shown(path)} cannot be read: {reason(error)}") from error
    return True


def _refuse_missing(path: str) -> NoReturn:
    folder = Path(path).parent
    if not folder.is_dir():
        raise UserError(f"{path}: no such file, nor is there a folder {folder} (looked from {Path.cwd()})")
    from difflib import get_close_matches

    with suppress(OSError):
        close = get_close_matches(Path(path).name, [entry.name for entry in folder.iterdir()], 1)
        if close:
            raise UserError(f"{path}: no such file; did you mean {folder / close[0]}?")
    raise UserError(f"{path}: no such file in {folder}")


def _decompress(raw: io.BufferedReader, ending: str) -> BinaryIO:
    if ending == ".gz":
        import gzip

        return cast(BinaryIO, gzip.GzipFile(fileobj=raw))
    if ending == ".xz":
        import lzma

        return cast(BinaryIO, lzma.LZMAFile(raw))
    if ending == ".zst":
        import pyarrow as pa

        # the package zstandard reads a truncated file without a word, and stops at the end of the first frame
        return io.BufferedReader(pa.CompressedInputStream(raw, "zstd"))
    return raw


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
