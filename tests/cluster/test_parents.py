"""Processes that are started end with the one that has started them, however that ends."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from s2s_lightning.inference.generate import session
from s2s_lightning.inference.generate.session import Setup, start_worker

BY_PYTHON = """
import multiprocessing, os, time
from s2s_lightning.cluster.children import end_with_parent

def child():
    end_with_parent()
    print(os.getpid(), flush=True)
    time.sleep(600)

if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=child)
    process.start()
    process.join()
"""

BY_A_COMMAND = """
import os, subprocess, sys
code = "import os, time; from s2s_lightning.cluster.children import end_with_parent; end_with_parent(); "
code += "print(os.getpid(), flush=True); time.sleep(600)"
subprocess.run([sys.executable, "-c", code])
"""


def runs(number: int) -> bool:
    """True if a process is there and no zombie."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")
@pytest.mark.parametrize("code", [BY_PYTHON, BY_A_COMMAND], ids=["multiprocessing", "subprocess"])
def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path, code: str) -> None:
    (tmp_path / "parent.py").write_text(code)
    words = [sys.executable, str(tmp_path / "parent.py")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, env={"PYTHONPATH": str(Path.cwd())}) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert runs(child)
        parent.kill()
    end = time.monotonic() + 10
    while runs(child) and time.monotonic() < end:
        time.sleep(0.05)
    assert not runs(child)


def test_a_worker_of_generate_looks_after_its_parent_first(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    def stop() -> None:
        told.append("watches")
        raise KeyboardInterrupt

    monkeypatch.setattr(session, "end_with_parent", stop)
    with pytest.raises(KeyboardInterrupt):
        start_worker(Setup("missing.ckpt", {}), 1)
    assert told == ["watches"]
