"""The one exception that reaches the user as a line of text, without secrets, and the right name for a misspelt one."""

import os
import re
import sysconfig
from collections.abc import Iterable
from difflib import SequenceMatcher
from pathlib import Path
from traceback import FrameSummary, extract_tb
from typing import Any

HIDDEN = "***"
"""It stands where a secret stood."""

WORD = r"[\w-]*(?:passw(?:or)?d|passphrase|pwd|secret|token|api_?key|access_?key|credential|signature)[\w-]*"

IN_URLS = (
    re.compile(r"(?P<before>\b[a-z][\w+.-]*://[^\s/:@'\"]*:)[^\s'\"]+(?=@)", re.IGNORECASE),  # user:password@
    re.compile(r"(?P<before>\b[a-z][\w+.-]*://)[^\s/:@'\"]{16,}(?=@)", re.IGNORECASE),  # token@
    re.compile(rf"(?P<before>[?&;]{WORD}=)[^\s&;'\"]+", re.IGNORECASE),
)
"""Secrets of addresses, behind what is left of them."""

IN_TEXT = (
    *IN_URLS,
    re.compile(r"(?P<before>(?<![\w/:.])[\w.+-]+:)[^\s/:@'\"]+(?=@[\w\[])"),  # user:password@host without a scheme
    re.compile(r"(?P<before>\b\w*(?:passw(?:or)?d|passphrase|pwd|secret|api_?key)\w*=)[^\s,;'\"]+", re.IGNORECASE),
    re.compile(r"\b(?P<before>hf_|gh[pousr]_|sk-|wandb_v1_)\w{16,}"),
)

SECRET_VARIABLE = re.compile(r"(?:^|_)(?:API_?KEY|TOKEN|SECRET|PASSWORD|PASSWD)$", re.IGNORECASE)


def without_secrets(text: str) -> str:
    """Return a message without the secrets of addresses, of well-known forms, and of this process's environment."""
    for name, value in os.environ.items():
        if len(value) >= 8 and SECRET_VARIABLE.search(name):
            text = text.replace(value, HIDDEN)
    return _hidden(text, IN_TEXT)


def without_addresses_secrets(value: Any) -> Any:
    """Return plain data, such as a configuration, whose addresses hold no secrets; all else is as it was."""
    if isinstance(value, str):
        return _hidden(value, IN_URLS)
    if isinstance(value, dict):
        return {key: without_addresses_secrets(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_addresses_secrets(item) for item in value]
    return value


def _hidden(text: str, patterns: tuple[re.Pattern[str], ...]) -> str:
    for pattern in patterns:
        text = pattern.sub(lambda match: match["before"] + HIDDEN, text)
    return text


class UserError(Exception):
    """Error in the user's input.

    The message is one line that states the value, the rule it breaks and the remedy; the command line prints
    it alone and exits with 2. Secrets of addresses are hidden in it.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(without_secrets(str(message)))


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


NOT_OWN = (str(Path(__file__).parent), sysconfig.get_path("stdlib"), "<")
"""Beginnings of the names of files that are not a user's own; packages that are installed are not, either."""


def located(error: BaseException) -> str:
    """Return an error as one line, with the innermost line of the user's own code that it comes from."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg} ({shown(error.filename or '')}, line {error.lineno})"
    own = _own_frames(error)
    place = f" ({shown(own[-1].filename)}, line {own[-1].lineno})" if own else ""
    return " ".join(f"{type(error).__name__}: {error}".split()) + place


def from_own_code(error: BaseException) -> bool:
    """True if an error is raised in the user's own code, or below it."""
    return bool(_own_frames(error))


def _own_frames(error: BaseException) -> list[FrameSummary]:
    frames = extract_tb(error.__traceback__)
    return [f for f in frames if not f.filename.startswith(NOT_OWN) and "site-packages" not in f.filename]


def shown(path: str) -> str:
    """Return a path as it is shorter: from the working folder, or in full."""
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative


ALIKE = 0.6
"""Ratio of equal characters from which two names are alike."""


def closest(name: str, candidates: Iterable[str]) -> str | None:
    """The candidate most like ``name``, or None when none is like it."""
    return _best((_likeness(name, candidate), candidate) for candidate in candidates)


def closest_key(key: str, candidates: Iterable[str]) -> str | None:
    """``closest`` of dotted keys, whose last part counts for itself too: ``lr`` finds ``optimizer.lr``."""
    return _best((max(_likeness(key, c), 0.95 * _likeness(_last(key), _last(c))), c) for c in candidates)


def did_you_mean(best: str | None, prefix: str = "") -> str:
    """``: did you mean X?``, or nothing when there is no suggestion."""
    return f": did you mean {prefix}{best}?" if best else ""


def _best(scored: Iterable[tuple[float, str]]) -> str | None:
    score, candidate = max(scored, default=(0.0, None), key=lambda pair: pair[0])
    return candidate if score >= ALIKE else None


def _likeness(a: str, b: str) -> float:
    return SequenceMatcher(None, a.lower(), b.lower()).ratio()


def _last(key: str) -> str:
    return key.rsplit(".", 1)[-1]
