"""Outputs: whole or not there, in the place of what was there before, and with one line where that cannot be."""

import errno
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from s2s_lightning.errors import UserError
from s2s_lightning.files.file_names import open_already, reason, shown


def cannot_be_written(path: str | Path, error: BaseException) -> UserError:
    """Return the error of an output, with the system's reason."""
    return UserError(f"{shown(path)} cannot be written: {reason(error)}")


def check_output(path: str | Path) -> None:
    """Look, before the work begins, if an output can be written, and change nothing.

    Raises:
        UserError: it is a folder, its folder is missing or cannot be written, or it can be no file's name.
    """
    try:
        if (number := open_already(path)) is not None:
            os.fstat(number)
            return
        real = Path(os.path.realpath(path))
        existing = _stands(real)
        if real.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder; give a file")
        if not real.parent.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"there is no folder {shown(real.parent)}")
        if not os.access(real if existing else real.parent, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except (OSError, ValueError) as error:
        raise cannot_be_written(path, error) from error


def refuse_overwriting(output: str | Path, *inputs: str | Path | None) -> None:
    """Raises UserError where an output is one of the inputs, by whatever name."""
    for path in (path for path in inputs if path is not None):
        with suppress(OSError):
            said, other = os.stat(path), os.stat(output)
            if stat.S_ISREG(said.st_mode) and os.path.samestat(said, other):
                raise UserError(f"--output={shown(output)} would overwrite what is read: {shown(path)}")


@contextmanager
def whole_file(path: str | Path, mode: int | None = None) -> Iterator[BinaryIO]:
    """Yield a file for bytes, which stands at ``path`` once all is written and on the disk, and not before.

    A link is followed. A device, a pipe or a process substitution is written directly. An existing file keeps its
    permissions. A failure leaves what was there.

    Args:
        path: the output.
        mode: permissions of a new file; None: as the umask says.

    Raises:
        UserError: it cannot be written.
    """
    import tempfile  # heavy

    check_output(path)
    real = Path(os.path.realpath(path))
    existing = _stands(real)
    if open_already(path) is not None or (existing and not real.is_file()):
        with written_through(path) as file:
            yield file
        return
    try:
        number, name = tempfile.mkstemp(prefix=".", suffix=".partial", dir=real.parent)
    except PermissionError:  # the file may be written, but no other in its folder
        with written_through(path) as file:
            yield file
        return
    except OSError as error:
        raise cannot_be_written(path, error) from error
    partial = Path(name)
    new = 0o666 & ~_umask() if mode is None else mode
    try:
        os.chmod(partial, stat.S_IMODE(real.stat().st_mode) if existing else new)
        with _watched(number, path) as file:
            yield file
        _moved(partial, real)
    finally:
        partial.unlink(missing_ok=True)


def write_whole(path: str | Path, content: bytes | str) -> None:
    """Write a whole file at once, text as UTF-8; as ``whole_file``."""
    with whole_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def written_through(path: str | Path) -> Iterator[BinaryIO]:
    """Yield a file for bytes that are written as they come: what stands in it stays when the work is cut short.

    Raises:
        UserError: it cannot be written.
    """
    number = open_already(path)
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666) if number is None else os.dup(number)
    except (OSError, ValueError) as error:
        raise cannot_be_written(path, error) from error
    with _watched(number, path) as file:
        yield file


def sync_folder(folder: str | Path) -> None:
    """Have the disk take the names in a folder, where folders can be asked so."""
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


class _Raw(io.FileIO):
    """A file that keeps its first failure, which libraries wrap in errors of their own."""

    failure: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.failure = error
            raise


@contextmanager
def _watched(number: int, path: str | Path) -> Iterator[BinaryIO]:
    """Yield a descriptor as a file, on the disk and closed afterwards. An error of its own is named by its path."""
    raw = _Raw(number, "wb")
    try:
        with io.BufferedWriter(raw) as file:
            yield file
            file.flush()
            _sync(raw)
    except Exception as error:
        if raw.failure is None:
            raise
        if isinstance(raw.failure, BrokenPipeError):  # its reader has gone, which is no news
            raise raw.failure from error
        raise cannot_be_written(path, raw.failure) from error


def _sync(raw: _Raw) -> None:
    if stat.S_ISREG(os.fstat(raw.fileno()).st_mode):
        try:
            os.fsync(raw.fileno())
        except OSError as error:
            raw.failure = error
            raise


def _moved(partial: Path, real: Path) -> None:
    try:
        partial.replace(real)
    except OSError as error:
        raise cannot_be_written(real, error) from error
    sync_folder(real.parent)


def _stands(path: Path) -> bool:
    """True if something is there; OSError where nothing can be, a name that is too long say."""
    try:
        os.stat(path)
    except FileNotFoundError:
        return False
    return True


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
