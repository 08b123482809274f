"""``python -m s2s_lightning COMMAND``: what must answer at once, then the command itself.

Nothing heavy is imported before a command begins to work.
"""

import os
import shlex
import signal
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from importlib import import_module
from traceback import format_exception
from types import TracebackType
from typing import NoReturn

from s2s_lightning import PROGRAM, __version__
from s2s_lightning.cli.command_table import COMMANDS, USUAL_NAMES
from s2s_lightning.cluster import failures, signals
from s2s_lightning.cluster.place import place
from s2s_lightning.errors import UserError, closest, did_you_mean, user_error_of, without_secrets
from s2s_lightning.files.file_names import full_output, replace_closed

TRAINER = ("fit", "validate", "test", "predict")
"""Commands of several processes, which answer signals together."""

OF_SEEDS = "s2s_lightning.cli.commands.seeds"
"""The module of ``fit --seeds``, which starts trainings and is none."""


def usage() -> str:
    """The top-level help."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {summary}" for name, (_, summary) in COMMANDS.items()]
    return "\n".join(
        [
            f"usage: {PROGRAM} [--help] [--version] COMMAND ...",
            "",
            "Sequence-to-sequence research on PyTorch Lightning.",
            "",
            "commands:",
            *lines,
            "",
            f"first run: {PROGRAM} fit --config configs/transformer.yaml",
            f"options of a command: {PROGRAM} COMMAND --help",
            "classes of another's file: --trust MODULE, with any command (docs/start/security.md)",
        ]
    )


def run(args: Sequence[str]) -> None:
    """Do what the arguments say.

    Raises:
        UserError: they make no sense.
    """
    command, *rest = args or ["--help"]
    rest = [word.replace("=~/", f"={os.path.expanduser('~')}/", 1) if word.startswith("--config=~/") else word
            for word in rest]  # fmt: skip
    if command in ("-h", "--help"):
        print(usage())
    elif command == "--version":
        print(f"s2s_lightning {__version__}")
    elif command not in COMMANDS:
        raise UserError(f"there is no command {command!r}{_right_command(command, rest)}")
    else:
        from s2s_lightning.runs.malloc import reuse_freed_memory

        if command == "fit" and signals.in_slurm():
            signals.listen()
        reuse_freed_memory()
        if os.getcwd() not in sys.path:  # a user's own classes
            sys.path.append(os.getcwd())
        rest = trusted(rest)
        several = command == "fit" and any(word.partition("=")[0] == "--seeds" for word in rest)
        with nullcontext() if command in TRAINER else signals.interruptible():
            import_module(OF_SEEDS if several else COMMANDS[command][0]).run(command, rest)


def _right_command(command: str, rest: Sequence[str]) -> str:
    """The hint for a command that there is not: what to type, where the word has a meaning elsewhere."""
    if usual := USUAL_NAMES.get(command.lower()):
        return f": type {PROGRAM} {shlex.join([*usual.split(), *rest])}"
    return did_you_mean(closest(command, COMMANDS)) or f"; choose one of {', '.join(COMMANDS)}"


def trusted(args: Sequence[str]) -> list[str]:
    """Take ``--trust MODULE`` out of the arguments of any command; the processes that it starts trust the same."""
    modules, rest = [], []
    words = iter(args)
    for word in words:
        if word == "--trust" or word.startswith("--trust="):
            name = word.partition("=")[2] or next(words, "")
            if not name:
                raise UserError("--trust needs the name of a module, such as my_model for my_model.py")
            modules.append(name)
        else:
            rest.append(word)
    if modules:
        from s2s_lightning.trust.names import trust

        trust(modules)
    return rest


def fail(message: str) -> NoReturn:
    """One line on stderr and exit code 2."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(failures.USER_ERROR)


def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print a traceback in which secrets are hidden: the hook of Python for errors that nobody has caught."""
    sys.stderr.write(without_secrets("".join(format_exception(kind, error, trace))))


def asks_for_text(args: Sequence[str]) -> bool:
    """True if the command only prints something."""
    return any(arg in ("-h", "--version", "--print_config") or arg.endswith("help") for arg in args)


def main(args: Sequence[str] | None = None) -> None:
    """The entry point; tests call it with ``args``."""
    replace_closed()
    sys.excepthook = show
    try:
        args = sys.argv[1:] if args is None else args
        if not place().alone:
            os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # a peer that is gone is worth no C++ stack
        if place().rank and asks_for_text(args):
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115  # rank 0 prints it
        if failures.doomed():
            sys.exit(failures.USER_ERROR)
        run(args)
        sys.stdout.flush()
    except KeyboardInterrupt as interrupt:
        sys.exit(128 + getattr(interrupt, "number", signal.SIGINT))
    except BrokenPipeError:  # the reader (head, less) has gone: no news for it, and none at Python's own last flush
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        user_error = user_error_of(error)
        if user_error is None and isinstance(error, OSError) and full_output(error):
            user_error = UserError(f"the output cannot be written: {error.strerror}")
        if not failures.alone():
            words = str(user_error) if user_error else f"{type(error).__name__}: {error}"
            failures.end(error, words, code=failures.USER_ERROR if user_error else 1)
        if user_error is None:
            raise
        fail(str(user_error))


if __name__ == "__main__":
    main()
