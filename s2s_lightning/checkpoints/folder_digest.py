"""Digests of the files of an exported folder: damage is seen, and a folder that the user wrote is recognised."""

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from s2s_lightning.errors import UserError
from s2s_lightning.files.run_checkpoints import checkpoint_in
from s2s_lightning.trust.signature import is_own_bytes, sign_bytes

NAME = "digests.json"


def seal(folder: Path, own: bool) -> None:
    """Write the digest of each file of a folder, some 0.6 GB a second, and the user's signature of the digests.

    Args:
        folder: with all files but this one.
        own: the user wrote the checkpoint that the folder was made of.
    """
    files = {path.name: digest(path) for path in sorted(folder.iterdir()) if path.is_file()}
    content = json.dumps(files, sort_keys=True)
    signature = sign_bytes(content.encode()) if own else None
    (folder / NAME).write_text(json.dumps({"files": files, "signature": signature}, indent=2) + "\n", encoding="utf-8")


def check_folder(folder: Path) -> bool:
    """Return True if this user wrote the folder; a folder from before there were digests passes as another's.

    Raises:
        UserError: a file is missing or is not what its digest says.
    """
    sealed: Any = None
    with suppress(OSError, ValueError):
        sealed = json.loads((folder / NAME).read_text(encoding="utf-8"))
    if not isinstance(sealed, dict) or not isinstance(sealed.get("files"), dict):
        return False
    for name, expected in sealed["files"].items():
        path = folder / Path(name).name
        if not path.is_file():
            raise UserError(f"{folder} is no complete export of a model: {path.name} is missing")
        if digest(path) != expected:
            raise UserError(
                f"{path} is damaged, or was changed: export the checkpoint again, or delete {NAME} to use it as it is"
            )
    return is_own_bytes(json.dumps(sealed["files"], sort_keys=True).encode(), str(sealed.get("signature")))


def checkpoint_digest(path: str | Path) -> str:
    """Return a digest of a checkpoint's content: of its file, or of all files of an exported folder."""
    found = checkpoint_in(path)
    if not found.is_dir():
        return digest(found)
    files = {each.name: digest(each) for each in sorted(found.iterdir()) if each.is_file()}
    return hashlib.blake2b(json.dumps(files).encode()).hexdigest()


def digest(path: Path) -> str:
    """Return the BLAKE2b digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()
