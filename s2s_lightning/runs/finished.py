"""The mark of a training that has come to its end, by which others know that there is nothing left to do."""

import json
from pathlib import Path

from s2s_lightning.files import write_whole

FILE = "finished.json"


def mark_end(folder: Path, step: int) -> None:
    """The training of the folder has made its last step, and whatever was to follow."""
    write_whole(folder / FILE, json.dumps({"step": step}) + "\n")


def forget_end(folder: Path) -> None:
    """It goes on, beyond an end that it may have had."""
    (folder / FILE).unlink(missing_ok=True)


def is_finished(folder: Path) -> bool:
    return (folder / FILE).exists()
