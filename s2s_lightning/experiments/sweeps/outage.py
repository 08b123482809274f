"""A study that cannot be reached for a while: a database that restarts, a network that is down, a disk that is full."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from s2s_lightning.errors import UserError, without_secrets
from s2s_lightning.experiments.jobs.screen_lines import Lines

RETRY = 5.0
"""Seconds between two tries."""

LONGEST = 300.0
"""Seconds that a sweep waits for its study; others take its trials for lost after as long."""


def unreachable() -> tuple[type[Exception], ...]:
    """Return the errors of a storage whose database or file is gone; a sweep's own files may be on the same disk."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    return StorageInternalError, SQLAlchemyError, OSError


@contextmanager
def one_line() -> Iterator[None]:
    """Raises UserError for what a storage raises."""
    try:
        yield
    except BrokenPipeError:  # of whoever reads what is printed
        raise
    except unreachable() as error:
        raise UserError(f"the study cannot be reached: {reason(error)}; the same command goes on with it") from error


def reason(error: BaseException) -> str:
    """Return the message of the database or the system without Optuna's words around it."""
    text = str(error.__cause__ or error) or type(error).__name__
    return without_secrets(text.splitlines()[0])


class Outage:
    """Time since the study cannot be reached. Trials run on meanwhile, and their reports wait in their folders."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._since: float | None = None

    def bear(self, error: Exception) -> None:
        """Wait a little; say so the first time.

        Raises:
            Exception: the error, after ``LONGEST``.
        """
        now = time.monotonic()
        if self._since is None:
            self._since = now
            self._lines.say(f"the study cannot be reached: {reason(error)}; trials run on, the sweep waits for it")
        if now - self._since >= LONGEST:
            raise error
        time.sleep(RETRY)

    def over(self) -> None:
        if self._since is not None:
            self._since = None
            self._lines.say("the study is there again")
