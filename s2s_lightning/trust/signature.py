"""Signatures of files that a user wrote on this machine, and checksums of files.

A checkpoint is a ZIP archive. Each entry has a checksum (CRC-32), which damage does not survive; they are compared once
for each file and process, at some 2.5 GB a second. The comment of the archive is a signature: a keyed digest
(BLAKE2b) of the entry that holds all names and settings, and of the checksums of the others. The key is the user's
alone. A signature says who wrote a file, the checksums that it is not damaged. Neither makes foreign weights harmless.
"""

import hmac
import os
import secrets
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from zipfile import ZIP_STORED, BadZipFile, ZipFile

KEY_FOLDER = "S2S_LIGHTNING_STATE"
"""Environment variable that names the folder of the key; ~/.local/state/s2s_lightning by default."""

SIGNATURE = b"s2s_lightning signature 1 "

_whole: dict[tuple[str, int, int], str | None] = {}


def sign(path: Path) -> None:
    """Sign a checkpoint that this process has just written; without a place for the key it stays unsigned."""
    key = own_key(create=True)
    if key is not None:
        with ZipFile(path, "a") as file:
            file.comment = SIGNATURE + digest(file, key)


def is_own(path: str | Path) -> bool:
    """True if this user signed the checkpoint."""
    key = own_key()
    if key is None:
        return False
    with suppress(OSError, BadZipFile), ZipFile(path) as file:
        return hmac.compare_digest(file.comment, SIGNATURE + digest(file, key))
    return False


def digest(file: ZipFile, key: bytes) -> bytes:
    """Return the keyed digest of an archive: all of the entry of names and settings, and the checksums of the rest."""
    state = blake2b(key=key, digest_size=32)
    for entry in file.infolist():
        state.update(f"{entry.filename}\0{entry.file_size}\0{entry.CRC}\0".encode())
        if entry.filename.endswith("/data.pkl"):
            with file.open(entry) as content:
                while part := content.read(2**20):
                    state.update(part)
    return state.hexdigest().encode()


def sign_bytes(content: bytes) -> str | None:
    """Return this user's keyed digest of bytes; None without a place for the key."""
    key = own_key(create=True)
    return None if key is None else blake2b(content, key=key, digest_size=32).hexdigest()


def is_own_bytes(content: bytes, signature: str) -> bool:
    """True if this user signed the bytes."""
    key = own_key()
    return key is not None and hmac.compare_digest(blake2b(content, key=key, digest_size=32).hexdigest(), signature)


def own_key(create: bool = False) -> bytes | None:
    """Return the user's key, made at its first use; None if there is none, or if others could have written it."""
    folder = Path(os.environ.get(KEY_FOLDER) or "~/.local/state/s2s_lightning").expanduser()
    path = folder / "key"
    with suppress(OSError):
        if create and not path.exists():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _make_key(path)
        number = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        with os.fdopen(number, "rb") as file:
            status = os.fstat(number)
            private = not status.st_mode & 0o077 and (not hasattr(os, "getuid") or status.st_uid == os.getuid())
            key = file.read()
            return key if private and len(key) == 32 else None
    return None


def _make_key(path: Path) -> None:
    """Put a whole key into its place in one step: two processes may start at once."""
    temporary = path.with_name(f".key.{os.getpid()}")
    number = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o600)
    with os.fdopen(number, "wb") as file:
        file.write(secrets.token_bytes(32))
        file.flush()
        os.fsync(number)
    with suppress(FileExistsError):
        os.link(temporary, path)
    temporary.unlink()


def damage(path: str | Path, ending: str = "") -> str | None:
    """Return what is wrong with a checkpoint's file, None if it is whole; asked once for each state of the file.

    Args:
        path: the file.
        ending: read only the entries whose name ends so.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        return str(error.strerror)
    key = (f"{os.path.realpath(path)}{ending}", status.st_mtime_ns, status.st_size)
    if key not in _whole:
        _whole[key] = _damage(path, ending, status.st_size)
    return _whole[key]


def _damage(path: str | Path, ending: str, size: int) -> str | None:
    try:
        with ZipFile(path) as file:
            entries = file.infolist()
            if any(entry.compress_type != ZIP_STORED for entry in entries):
                return "it has compressed entries, which torch does not write"
            if sum(entry.file_size for entry in entries) > size:
                return "its entries are larger than the file"
            for entry in entries:
                if entry.filename.endswith(ending):
                    with file.open(entry) as content:
                        while content.read(2**20):
                            pass
    except BadZipFile as error:
        return str(error)
    except (OSError, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        return f"its writing was cut short ({error})"
    return None
