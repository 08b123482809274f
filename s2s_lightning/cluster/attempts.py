"""Files that one start of torchrun leaves for the next start and for the agent: one for each process."""

import json
import os
import time
from pathlib import Path

from s2s_lightning.cluster.board import Failure


def leave(failure: Failure, told: bool) -> None:
    """Write it where torchrun looks for the cause (torch.distributed.elastic.multiprocessing.errors).

    Args:
        failure: that has ended the run.
        told: whether this process has told the user.
    """
    if path := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        details = {"py_callstack": failure.words, "timestamp": str(int(time.time())), "told": told, **failure._asdict()}
        text = json.dumps({"message": {"message": failure.words, "extraInfo": details}})
        Path(path).write_text(text, encoding="utf-8")


def doomed(code: int) -> bool:
    """True if this is a restart after a failure with the exit code, which another start cannot help.

    torchrun starts anew whatever has failed, and keeps what each attempt has left in a folder beside the last one's.
    """
    own, attempt = os.environ.get("TORCHELASTIC_ERROR_FILE"), int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    if not (own and attempt):
        return False
    left = Path(own).parents[1].with_name(f"attempt_{attempt - 1}").glob("*/error.json")
    texts = [path.read_text(encoding="utf-8") for path in left]
    texts.sort(key=lambda text: bool(json.loads(text)["message"]["extraInfo"]["told"]))
    if not texts or json.loads(texts[-1])["message"]["extraInfo"]["code"] != code:
        return False
    Path(own).write_text(texts[-1], encoding="utf-8")  # it is what this attempt ends of, too
    return True
