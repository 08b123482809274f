"""The processes that Lightning starts beside the first one, watched so that their end is known and told."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from multiprocessing.process import BaseProcess

LEAVE = 20.0
"""Seconds that this process has to end by itself, and to say why, after one of the others has failed."""

_children: list[subprocess.Popen[bytes]] = []


def watch_children() -> None:
    """Take the place of Lightning's own watch, which kills this process before it can say what happened."""
    from lightning.pytorch.strategies.launchers import subprocess_script

    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # of the children, which are yet to import torch
    vars(subprocess_script)["_launch_process_observer"] = _start_watch


def any_children() -> bool:
    """True if this process has started others."""
    return bool(_children)


def fate(rank: int) -> str:
    """Return the cause of a child's death, as far as this process knows."""
    if 0 < rank <= len(_children):
        code = _children[rank - 1].poll()
        if code is not None:
            return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    return ""


def end_children() -> None:
    """End the children that still run: stuck, stopped, or waiting for this process."""
    for child in _children:
        child.kill()


def end_with_parent(grace: float = 0.0) -> None:
    """End this process when the one that started it is gone, even by SIGKILL, which that one cannot answer.

    Args:
        grace: seconds that this process has to end by itself, and to say why.
    """
    threading.Thread(target=_outlive, args=(multiprocessing.parent_process(), os.getppid(), grace), daemon=True).start()


def _outlive(starter: BaseProcess | None, parent: int, grace: float) -> None:
    if starter is not None:
        starter.join()
    else:
        while os.getppid() == parent:
            time.sleep(1.0)
    time.sleep(grace)
    os._exit(1)


def _start_watch(children: list[subprocess.Popen[bytes]]) -> None:
    _children[:] = children
    threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    """Ends this process after a child that failed, if it has not ended then: it may wait for the child for ever."""
    while not any(codes := [child.poll() for child in _children]):
        if None not in codes:
            return
        time.sleep(0.2)
    time.sleep(LEAVE)
    rank, code = next((i, child.returncode) for i, child in enumerate(_children, 1) if child.returncode)
    if code < 0:  # otherwise it has told why
        print(f"error: rank {rank} {fate(rank)}", file=sys.stderr, flush=True)
    end_children()
    os._exit(code if code > 0 else 1)
