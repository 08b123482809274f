"""Files that are made once, by whichever process comes first, and found again by their content."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TypeVar

from filelock import FileLock

from s2s_lightning.errors import UserError

T = TypeVar("T")

FORMAT = "2"
"""Part of every key: raise it when the same corpus must give other ids or another file."""


def cache_root(cache_dir: str | None) -> Path:
    """The argument, else $S2S_LIGHTNING_CACHE, else ~/.cache/s2s_lightning."""
    chosen = cache_dir or os.environ.get("S2S_LIGHTNING_CACHE") or "~/.cache/s2s_lightning"
    return Path(chosen).expanduser()


def digest(*parts: str) -> str:
    """A key of 128 bits; no two lists of parts share one."""
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        state.update(b"%d:" % len(data) + data)
    return state.hexdigest()


def file_digest(path: str | Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


def cached(path: Path, build: Callable[[Path], None]) -> Path:
    """``path``, made by ``build`` if it is missing.

    Any number of processes may call it at once: one builds, the others wait. A build that is killed leaves nothing that
    looks complete.

    Raises:
        UserError: the folder cannot be written.
    """
    if path.exists():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{path.parent}: the cache cannot be written ({error.strerror}); "
            "name another folder by --data.cache_dir or $S2S_LIGHTNING_CACHE"
        ) from error
    with FileLock(f"{path}.lock"):
        if not path.exists():
            partial = path.with_name(f"{path.name}.partial")
            build(partial)
            partial.replace(path)
    return path


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of ``size`` items, the last one shorter."""
    stream = iter(items)
    while chunk := list(islice(stream, size)):
        yield chunk
