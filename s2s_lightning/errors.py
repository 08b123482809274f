"""The one exception that reaches the user as a line of text instead of a traceback, and what raises it often."""

from pathlib import Path


class UserError(Exception):
    """What the user gave cannot work.

    The message is one line that states the value, the rule it breaks and the remedy; the command line prints
    it alone and exits with 2.
    """


def user_error_of(error: BaseException | None) -> UserError | None:
    """Return the UserError that the error is or comes from; jsonargparse wraps what a constructor raises."""
    while error is not None and not isinstance(error, UserError):
        error = error.__cause__ or error.__context__
    return error


def check_at_least(minimum: float, **values: float | None) -> None:
    """Raises UserError for the first value below the minimum; None is none."""
    for name, value in values.items():
        if value is not None and not value >= minimum:
            raise UserError(f"{name}={value}: it must be {minimum} or more")


def check_at_most(maximum: float, **values: float | None) -> None:
    """Raise UserError for the first value above the maximum; None is none."""
    for name, value in values.items():
        if value is not None and not value <= maximum:
            raise UserError(f"{name}={value}: it must be {maximum} or less")


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


def check_seed(seed: int | None, option: str = "--seed_everything") -> None:
    """Raise UserError for a seed that numpy's generator does not take; True and False are none."""
    if not isinstance(seed, bool) and seed is not None and not 0 <= seed < 2**32:
        raise UserError(f"{option}={seed}: a seed is from 0 to {2**32 - 1}")


def make_folder(folder: Path) -> Path:
    """Make a folder and those above it, unless they are there.

    Raises:
        UserError: a file stands in its place, or it cannot be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise no_folder(folder, error) from error
    return folder


def no_folder(folder: Path, error: OSError) -> UserError:
    """Return the error for a folder that cannot be made."""
    return UserError(f"{folder} cannot be made a folder ({error.strerror}): name another")
