"""Files that are made once, by whichever process comes first, and found again by their content.

A cache is private. Folders are made for this user alone (0700, files 0600), no link within is followed, and a file of
another owner is refused: who can write a cache decides what others train on. A folder that its group may write is one
that people share on purpose; there the group's files are taken, and new ones are for the group too.
"""

import errno
import hashlib
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import TypeVar

from filelock import FileLock

from s2s_lightning.errors import UserError
from s2s_lightning.files import shown, sync_folder

T = TypeVar("T")

FORMAT = "2"
"""Part of every key: raise it when the same corpus must give another tokenizer, other ids or another file."""

FULL = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.ENOENT,
)
"""Errors of a disk that takes no more, or of a folder that takes nothing."""

REMEDY = "name another folder by --data.cache_dir or $S2S_LIGHTNING_CACHE"


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


def cached(root: Path, name: str, build: Callable[[Path], None], read: Callable[[Path], T]) -> T:
    """Read the file ``name`` below ``root``, made by ``build`` if it is missing or ``read`` finds it corrupt.

    Any number of processes may call it at once: one builds, the others wait. A build that is killed leaves nothing that
    looks complete, and a built file is on the disk before it has its name.

    Args:
        root: the cache.
        name: of the file, with its folder.
        build: writes the file into an empty one.
        read: raises any error but UserError where the content is not what ``build`` writes.

    Raises:
        UserError: the cache cannot be written or read, or is another user's.
    """
    path = root / name
    with _said(path, root):
        check_private(path.parent, root)
        found = _read(path, read)
        if found is None:
            shared = private_folder(path.parent, root)
            with FileLock(_lock(path, shared), mode=0o600 | shared):
                found = _read(path, read, say=True)
                if found is None:
                    _build(path, build, 0o600 | shared)
                    found = (read(path),)
    return found[0]


def _read(path: Path, read: Callable[[Path], T], say: bool = False) -> tuple[T] | None:
    """Return the content, or None where there is none that can be used."""
    try:
        if not stat.S_ISREG(_own(path).st_mode):
            raise ValueError("it is a link or no file")
        return (read(path),)
    except FileNotFoundError:
        return None
    except (UserError, MemoryError, PermissionError):
        raise
    except Exception as error:
        if say:
            what = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            print(f"{path} is corrupt ({what}): it is made anew", file=sys.stderr)
        return None


def _build(path: Path, build: Callable[[Path], None], mode: int) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)  # of a build that was killed, or a link that somebody has put there
    os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
    os.chmod(partial, mode)
    try:
        build(partial)
        _sync(partial)
        if path.is_dir() and not path.is_symlink():
            raise UserError(f"{path} is a folder, where the cache has a file: remove it")
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _lock(path: Path, shared: int) -> Path:
    """Return the lock's name, behind which there is no link."""
    lock = path.with_name(f"{path.name}.lock")
    if lock.is_symlink():
        lock.unlink()
    return lock


# Whose it is


def private_folder(folder: Path, root: Path) -> int:
    """Make a folder below the cache's, and return the permissions that its group has on new files: 0 if it is private.

    Raises:
        UserError: one of them is a link, or belongs to another user.
    """
    for part in _parts(folder, root):
        try:
            part.mkdir(mode=0o700, parents=True)
        except FileExistsError:
            if part == root or part.is_symlink() or _group(root):
                continue
            with suppress(OSError):
                os.chmod(part, 0o700)  # made before caches were private
        else:
            if shared := _group(root):
                os.chmod(part, 0o2700 | shared | 0o010)
    check_private(folder, root)
    return _group(root)


def check_private(folder: Path, root: Path) -> None:
    """Raises UserError where a folder of the cache, as far as it is there, is a link or belongs to another user."""
    for part in _parts(folder, root):
        try:
            said = _own(part, root)
        except FileNotFoundError:
            return
        if stat.S_ISLNK(said.st_mode) and part != root:
            raise UserError(f"{part} is a link, and no link within a cache is followed: remove it, or {REMEDY}")
        if not part.is_dir():
            raise UserError(f"{part}: the cache cannot be written (it is no folder); {REMEDY}")


def _parts(folder: Path, root: Path) -> list[Path]:
    """Return the cache's folder and those within it on the way to ``folder``."""
    return [root, *reversed([part for part in (folder, *folder.parents) if root in part.parents])]


def _own(path: Path, root: Path | None = None) -> os.stat_result:
    """Return what the system says of a path itself.

    Raises:
        UserError: it belongs to another user, and nobody shares the cache on purpose.
    """
    said = path.lstat()
    trusted = not hasattr(os, "getuid") or said.st_uid in (0, os.getuid())
    if not trusted and not _group(path if path == root else path.parent):
        raise UserError(f"{path} belongs to another user (number {said.st_uid}): remove it, or {REMEDY}")
    return said


def _group(folder: Path) -> int:
    """Return the permissions of a folder's group to read and write, if the group, and not the world, may write it."""
    mode = folder.stat().st_mode
    return mode & 0o060 if mode & 0o020 and not mode & 0o002 else 0


@contextmanager
def _said(path: Path, root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        elsewhere = error.filename is not None and not str(error.filename).startswith(str(root))
        if elsewhere or error.errno not in (*FULL, errno.ENOENT):
            raise
        raise UserError(f"{shown(path.parent)}: the cache cannot be written ({error.strerror}); {REMEDY}") from error


def chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of ``size`` items, the last one shorter."""
    stream = iter(items)
    while chunk := list(islice(stream, size)):
        yield chunk
