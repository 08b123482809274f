"""Errors of Lightning, torch and the file system, translated into one-line UserErrors."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning.fabric.utilities.exceptions import MisconfigurationException

from s2s_lightning.errors import UserError

UNUSED = (
    "there are weights that the loss does not depend on, for whose gradients DDP waits: freeze them "
    "(--trainer.callbacks+ Freeze), or take --trainer.strategy ddp_find_unused_parameters_true, which looks for them "
    "at each step"
)


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Translate errors of a trainer that runs in the context.

    Args:
        folder: of the run, which is named where a full disk does not say the file.

    Raises:
        UserError: a setting that Lightning refuses, a full disk, a weight that the loss does not depend on.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(f"{error.strerror}: {error.filename or folder}") from error
    except (MisconfigurationException, ValueError) as error:
        if not raised_by(error, "lightning."):
            raise
        raise UserError(f"trainer: {error}") from error
    except RuntimeError as error:
        if raised_by(error, "torch.optim."):
            raise UserError(f"the optimizer: {error}") from error
        if "find_unused_parameters" not in str(error):
            raise
        raise UserError(UNUSED) from error


def raised_by(error: BaseException, package: str) -> bool:
    """True if the package itself raises the error, and nothing that it calls."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith(package)


def refuse_missing_package(error: BaseException | None) -> None:
    """Raise UserError for a part, a logger for one, that needs a package that is not installed, in the part's own
    words.
    """
    while error is not None and not isinstance(error, ModuleNotFoundError):
        error = error.__cause__ or error.__context__
    if error is not None:
        raise UserError(str(error)) from error
