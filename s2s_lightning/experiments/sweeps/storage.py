"""Storage of a study: any database that Optuna takes, or a journal, which a network file system can hold."""

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from s2s_lightning.errors import UserError, make_folder

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

JOURNAL = "journal:"
PATIENCE = 120
"""Seconds that a process waits for SQLite's lock."""


def default_url(folder: Path, journal: bool) -> str:
    """``study.db`` in the sweep's folder; a journal where one is asked for or there already."""
    file = folder / "study.journal"
    if file.exists() or (journal and not (folder / "study.db").exists()):
        return f"{JOURNAL}{file}"
    return f"sqlite:///{folder / 'study.db'}"


def open_storage(url: str, folder: Path) -> "BaseStorage":
    """The storage of a URL, made if need be.

    Raises:
        UserError: it cannot be opened.
    """
    hush()
    make_folder(folder)
    try:
        with FileLock(folder / ".opening"):  # two that make the tables of one database at once would both fail
            return _open(url)
    except ImportError as error:
        raise UserError(f"--storage {url} needs a package that is not here: {error}") from error
    except Exception as error:  # of the database's own driver, whichever that is
        raise UserError(
            f"--storage {url} cannot be opened: {error}; give a URL such as sqlite:///FILE, journal:FILE or "
            "postgresql://USER@HOST/DATABASE"
        ) from error


def _open(url: str) -> "BaseStorage":
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend

    if url.startswith(JOURNAL):
        return JournalStorage(JournalFileBackend(url.removeprefix(JOURNAL)))
    return RDBStorage(url, engine_kwargs={"connect_args": {"timeout": PATIENCE}} if url.startswith("sqlite") else None)


def hush() -> None:
    """Silence what Optuna says of every trial, which the sweep says better, and of parts it calls experimental."""
    import optuna

    optuna.logging.set_verbosity(logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
