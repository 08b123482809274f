"""A SLURM of two nodes on this machine, whose jobs train; see ``slurm_cluster.sh``."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("slurm_cluster.sh")
NEEDED = ("slurmctld", "slurmd", "sbatch", "munged", "ip", "unshare", "nsenter")
SYSTEM = os.pathsep.join(["/usr/sbin", "/sbin", "/usr/bin", "/bin"])


def why_not() -> str | None:
    """What a cluster lacks here."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "a SLURM of one's own needs Linux and root"
    path = f"{os.environ.get('PATH', '')}{os.pathsep}{SYSTEM}"
    missing = [name for name in NEEDED if not shutil.which(name, path=path)]
    if missing:
        return f"there is no {', '.join(missing)}; see tests/cluster/slurm_cluster.sh install"
    spaces = ("unshare", "--net", "--uts", "--mount-proc", "--pid", "--fork", "true")
    return None if subprocess.run(spaces, capture_output=True).returncode == 0 else "this container has no namespaces"


def until(happened: Callable[[], object], seconds: float, what: str) -> None:
    """Wait for it; fail when the time is out."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.1)


class Cluster:
    """Of two nodes, and what a user on its login node does.

    Args:
        folder: of the cluster; a short path, for sockets lie in it.
        options: variables of the script, S2S_SLURM_...
    """

    def __init__(self, folder: Path, **options: object) -> None:
        self.folder = folder
        settings = {name: str(value) for name, value in options.items()}
        # The program that python is has its own folder first, so that a job's python is this one.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = {**os.environ, "PATH": path, **settings, "S2S_SLURM_DIR": str(folder)}

    def start(self) -> None:
        """It ends with this process, however that ends."""
        log = self.folder.with_suffix(".log")
        with log.open("wb") as out:
            words = [str(SCRIPT), "run"]
            self._process = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT, env=self.environment
            )
        until(lambda: "idle" in log.read_text() or self._process.poll() is not None, 90, "idle nodes")
        assert self._process.poll() is None, log.read_text()

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)
        self.control("stop")

    def background(self, *words: object, **environment: str) -> "subprocess.Popen[str]":
        """A command of the script: exec, on, cut, heal, kill-node, start-node."""
        command = [str(SCRIPT), *map(str, words)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(command, env={**self.environment, **environment}, text=True, **pipes)

    def control(self, *words: object, **environment: str) -> str:
        """The same, to its end; what it writes."""
        with self.background(*words, **environment) as process:
            out, _ = process.communicate()
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, process.args, out)
        return out

    def login(self, *words: object, **environment: str) -> str:
        """A command on the login node."""
        return self.control("exec", *words, **environment)

    def shown(self, job: str, name: str) -> str:
        """What SLURM says of a job."""
        found = re.search(rf"\b{name}=(\S+)", self.login("scontrol", "show", "job", job))
        assert found
        return found[1]

    def wait(self, job: str, *states: str, seconds: float = 60) -> str:
        until(lambda: self.shown(job, "JobState") in states, seconds, f"job {job} is {' or '.join(states)}")
        return self.shown(job, "JobState")

    def process(self, node: int, pattern: str = "s2s_lightning fit") -> int:
        """The oldest process of a node whose command line has the pattern, by its number there."""
        return int(self.control("on", node, "pgrep", "-o", "-f", f"^[^ ]*python.*{pattern}"))

    def signal(self, node: int, name: str, pattern: str = "s2s_lightning fit") -> None:
        """To the training on a node, or another program."""
        self.control("on", node, "kill", f"-{name}", self.process(node, pattern))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    if reason := why_not():
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="s2s-slurm-") as folder:
        Path(folder).chmod(0o755)  # or munge refuses it
        cluster = Cluster(Path(folder) / "c", S2S_SLURM_NODE_TIMEOUT=10)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()
