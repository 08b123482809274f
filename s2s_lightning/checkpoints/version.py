"""The version of what a checkpoint holds, so that a newer one is said to be newer."""

from collections.abc import Mapping
from typing import Any

from s2s_lightning import __version__
from s2s_lightning.errors import UserError

FORMAT_KEY = "s2s_lightning_format"

NUMBER = 1
"""Number of the format, raised when older programs cannot read it."""

FORMAT = [NUMBER, __version__]
"""The format, and the version of the package that wrote the file."""


def check_version(content: Mapping[str, Any], path: object) -> None:
    """Raise UserError for a file of a newer format; one without a format is older than all."""
    number, writer = content.get(FORMAT_KEY) or (0, "")
    if number > NUMBER:
        raise UserError(
            f"{path} has format {number}, written by s2s_lightning {writer}; this is {__version__}, which reads "
            f"up to format {NUMBER}: install the newer version"
        )


def written_by(content: Mapping[str, Any]) -> str:
    """Return the version of the package that wrote a file."""
    return str((content.get(FORMAT_KEY) or (0, "an unknown version"))[1])
