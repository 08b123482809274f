"""A program that waits to be interrupted: ``python waits.py SIGN`` makes the file SIGN as soon as SIGINT ends it well.

No shell script: a shell may overlook a signal that comes between two of its commands.
"""

import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

WORDS = f"exec {sys.executable} {__file__}"
"""To be run in the place of a shell script's rest, before the name of the sign."""


def _end(*args: Any) -> NoReturn:
    time.sleep(0.2)
    print("saved", flush=True)
    sys.exit(130)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, _end)
    Path(sys.argv[1]).touch()
    while True:
        time.sleep(1)
