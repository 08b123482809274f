"""Lines typed at a terminal, with a history that outlives the program."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from s2s_lightning.data.cache import cache_root, private_folder
from s2s_lightning.errors import UserError

HISTORY = "generate_history"
LENGTH = 1000
"""Lines of the history."""


def converse(answer: Callable[[str], str]) -> None:
    """Answer each line that is typed; Ctrl-C drops a line or its answer, Ctrl-D ends."""
    print("a line to generate from; Ctrl-C cancels, Ctrl-D ends", file=sys.stderr)
    with history(cache_root(None) / HISTORY):
        while True:
            try:
                line = input("> ")
                if line.strip():
                    print(answer(line), end="", flush=True)
            except KeyboardInterrupt:
                print(file=sys.stderr)
            except EOFError:
                print(file=sys.stderr)
                return


@contextlib.contextmanager
def history(path: Path) -> Iterator[None]:
    """Arrows find earlier lines again, where Python has readline; a file that cannot be kept is no harm."""
    try:
        import readline
    except ImportError:
        yield
        return
    with contextlib.suppress(OSError):
        readline.read_history_file(path)
    readline.set_history_length(LENGTH)
    try:
        yield
    finally:
        with contextlib.suppress(OSError, UserError):
            private_folder(path.parent, path.parent)
            path.touch(mode=0o600)  # what is typed may be private
            readline.write_history_file(path)
