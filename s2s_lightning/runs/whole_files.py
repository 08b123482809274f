"""Checkpoints that are whole at any moment, whenever the process or the machine stops."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from s2s_lightning.checkpoints.version import FORMAT, FORMAT_KEY
from s2s_lightning.errors import UserError
from s2s_lightning.files.whole_file import sync_folder
from s2s_lightning.trust.signature import sign

TEMPORARY = ".tmp"
"""Suffix of a file that is being written; there is one at most for each name, and the next writing replaces it."""


class WholeFiles(TorchCheckpointIO):
    """Writes beside the old file, has the disk take it, and puts it into the old one's place in one step.

    (Lightning's goes over the system's temporary folder, from which a move to another disk is a copy.)

    Args:
        before: name of a file -> the name under which what it held before is kept: one generation, should the newer
            prove torn after all.
    """

    def __init__(self, before: Mapping[str, str]) -> None:
        super().__init__()
        self.before = before

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + TEMPORARY)
        with _full_disk_is_said(path, temporary):
            with temporary.open("wb") as file:
                torch.save({FORMAT_KEY: FORMAT, **checkpoint}, file)
            sign(temporary)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            if path.name in self.before and path.exists():
                _keep(path, path.with_name(self.before[path.name]))
            temporary.replace(path)
            sync_folder(path.parent)


@contextmanager
def _full_disk_is_said(path: Path, temporary: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, OSError):
            cause = cause.__cause__ or cause.__context__
        if cause is None:
            raise
        kept = f"; the one before it is whole: make room, then fit --resume {path.parent.parent}"
        raise UserError(f"{path} cannot be written: {cause.strerror}{kept if path.exists() else ''}") from error


def _keep(path: Path, older: Path) -> None:
    """A second name for a file, whose first one never goes missing where the file system has such links."""
    link = older.with_name(older.name + TEMPORARY)
    try:
        link.unlink(missing_ok=True)
        link.hardlink_to(path)
    except OSError:
        path.replace(older)
    else:
        link.replace(older)
