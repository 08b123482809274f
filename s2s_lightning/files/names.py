"""Names of files: those that stand for a descriptor of this process, and how a message shows one."""

import re
from pathlib import Path

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
