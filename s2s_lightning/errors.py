"""The one exception that reaches the user as a line of text instead of a traceback, and what raises it often."""


class UserError(Exception):
    """What the user gave cannot work.

    The message is one line that states the value, the rule it breaks and the remedy; the command line prints
    it alone and exits with 2.
    """


def check_at_least(minimum: float, **values: float | None) -> None:
    """Raises UserError for the first value below the minimum; None is none."""
    for name, value in values.items():
        if value is not None and not value >= minimum:
            raise UserError(f"{name}={value}: it must be {minimum} or more")


def check_below_one(**values: float) -> None:
    """Raises UserError for the first value that is not 0 or more and below 1."""
    for name, value in values.items():
        if not 0 <= value < 1:
            raise UserError(f"{name}={value}: it must be 0 or more and below 1")


def check_probability(**values: float) -> None:
    """Raises UserError for the first value that is not from 0 to 1."""
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise UserError(f"{name}={value}: it must be from 0 to 1")
