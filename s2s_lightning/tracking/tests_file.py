"""tests.jsonl: the scores of a run's checkpoints on the test split, in the folder of that run."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

FILE = "tests.jsonl"


def run_of(checkpoint: str | Path | None) -> Path | None:
    """Return the folder of the run whose checkpoint this is, if the folder is this user's own and can be written."""
    if checkpoint is None:
        return None
    folder = Path(checkpoint).absolute().parent.parent
    if not (folder / "run.json").is_file() or not os.access(folder, os.W_OK):
        return None
    own = not hasattr(os, "getuid") or folder.stat().st_uid == os.getuid()
    return folder if own else None


def append_test(folder: Path, line: dict[str, Any]) -> None:
    """Add the scores of one test. A link is not followed, and a folder that refuses the file loses nothing else."""
    with suppress(OSError):
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        with os.fdopen(os.open(folder / FILE, flags, 0o644), "w", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def read_tests(folder: Path) -> list[dict[str, Any]]:
    """Return the tests of a run so far; a line that was cut short is left out."""
    path, found = folder / FILE, []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        with suppress(json.JSONDecodeError):
            found.append(json.loads(line))
    return found
