"""The one exception that reaches the user as a line of text instead of a traceback, and what raises it often."""


class UserError(Exception):
    """What the user gave cannot work.

    The message is one line that states the value, the rule it breaks and the remedy; the command line prints
    it alone and exits with 2.
    """


def check_at_least(minimum: float, **values: float | None) -> None:
    """Raises UserError for the first value below the minimum; None is none."""
    for name, value in values.items():
        if value is not None and value < minimum:
            raise UserError(f"{name}={value}: it must be {minimum} or more")
