"""The version of what a checkpoint holds, so that a newer one is said to be newer."""

from collections.abc import Mapping
from typing import Any

from s2s_lightning import __version__
from s2s_lightning.errors import UserError

FORMAT_KEY = "s2s_lightning_format"

FORMAT = [1, __version__]
"""Number of the format, raised when older programs cannot read it, and the version of the package that wrote it."""


def check_version(content: Mapping[str, Any], path: object) -> None:
    """Raise UserError for a file of a newer format; one without a format is older than all."""
    number, writer = content.get(FORMAT_KEY) or (0, "")
    if number > FORMAT[0]:
        raise UserError(
            f"{path} has format {number}, written by s2s_lightning {writer}, and this is {__version__}, which reads up to "
            f"format {FORMAT[0]}: install the newer version"
        )


def written_by(content: Mapping[str, Any]) -> str:
    """Return the version of the package that wrote a file."""
    return str((content.get(FORMAT_KEY) or (0, "an unknown version"))[1])
