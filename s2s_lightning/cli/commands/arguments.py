"""The arguments of the commands that are not Lightning's."""

import argparse
import os
from collections.abc import Sequence
from typing import Any, NoReturn

from s2s_lightning import PROGRAM
from s2s_lightning.errors import UserError, closest, did_you_mean

PATHS = {"FILE", "FOLDER", "DIR", "CHECKPOINT", "SRC", "TGT", "REF", "HYP", "RUN"}
"""Names of arguments in the help that are paths: in these a leading ``~`` is the user's home."""


class Arguments(argparse.ArgumentParser):
    """One line for a mistake, and no abbreviated options.

    Args:
        command: its name.
        description: what it does.
        epilog: what stands below the options.
    """

    def __init__(self, command: str, description: str, epilog: str | None = None) -> None:
        super().__init__(
            prog=f"{PROGRAM} {command}",
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.command = command

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[argparse.Namespace, list[str]]:  # type: ignore[override]
        options, unknown = super().parse_known_args(args, namespace)
        for action in self._actions:
            value = getattr(options, action.dest, None)
            if PATHS.intersection(str(action.metavar).split()):
                setattr(options, action.dest, _at_home(value))
        return options, unknown

    def error(self, message: str) -> NoReturn:
        raise UserError(message)

    def parse(self, args: Sequence[str], others: Sequence[str] = ()) -> argparse.Namespace:
        """Parse all arguments.

        Args:
            args: of the command line.
            others: options that somebody else reads, to suggest.

        Raises:
            UserError: an unknown option, with the right one, or an argument too many.
        """
        options, unknown = self.parse_known_args(args)
        if not unknown:
            return options
        name = unknown[0].split("=")[0]
        if not name.startswith("-"):
            takes = " and ".join(str(a.metavar) for a in self._actions if not a.option_strings)
            raise UserError(f"{name!r} is one too many: {self.command} takes {takes}")
        names = [*others, *(name for action in self._actions for name in action.option_strings)]
        raise UserError(f"{name} is not an option of {self.command}{did_you_mean(closest(name, names))}")


def _at_home(value: Any) -> Any:
    if isinstance(value, list):
        return [_at_home(each) for each in value]
    return os.path.expanduser(value) if isinstance(value, str) and value.startswith("~/") else value
