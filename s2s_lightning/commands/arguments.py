"""The arguments of the commands that are not Lightning's."""

import argparse
from collections.abc import Sequence
from typing import NoReturn

from s2s_lightning import PROGRAM
from s2s_lightning.errors import UserError
from s2s_lightning.suggest import closest, did_you_mean


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

    def error(self, message: str) -> NoReturn:
        raise UserError(message)

    def parse(self, args: Sequence[str], others: Sequence[str] = ()) -> argparse.Namespace:
        """All arguments.

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
