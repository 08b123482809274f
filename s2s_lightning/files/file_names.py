"""Names of files: those that stand for a descriptor of this process, and how a message shows one."""

import errno
import os
import re
import sys
from pathlib import Path
from typing import BinaryIO, cast

from s2s_lightning.errors import UserError

OPEN_FILE = re.compile(r"(?:/dev|/proc/self)/fd/(\d+)|/dev/std(in|out|err)")
"""Names of files that this process has open already."""


def open_already(path: str | Path) -> int | None:
    """Return the descriptor that a path such as /dev/stdout or /dev/fd/63 names, or None."""
    match = OPEN_FILE.fullmatch(str(path))
    if match is None:
        return None
    return int(match[1]) if match[1] else ("in", "out", "err").index(match[2])


def shown(path: str | Path, longest: int = 120) -> str:
    """Return a path as it stands in a message: a name of hundreds of characters is cut in its middle."""
    text = str(path)
    return text if len(text) <= longest else f"{text[: longest // 2]}...{text[-longest // 4 :]}"


def reason(error: BaseException) -> str:
    """Return what the system says of an error."""
    return (isinstance(error, OSError) and error.strerror) or str(error)


def stdout() -> BinaryIO:
    """Return stdout for bytes.

    Raises:
        UserError: it was closed when the program began, so that results would be lost.
    """
    if getattr(sys.stdout, "name", None) == os.devnull:
        raise UserError("stdout is closed, where the results would go: give -o FILE")
    return cast(BinaryIO, sys.stdout.buffer)


def replace_closed() -> None:
    """Put the null device into the place of a closed stdin, stdout or stderr.

    Otherwise the next file that is opened takes its number, and gets all that is said there. A closed stdin stays
    None for Python, so that reading from it is refused.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  # for the rest of the process
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115


def full_output(error: OSError) -> bool:
    """True if an open file, stdout say, takes no more. What stdout still holds is dropped, so that Python can end."""
    if error.filename is not None or error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
        return False
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True
