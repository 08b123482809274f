"""What a training on two nodes does when something breaks: how soon it ends, and how soon it goes on.

    python -m benchmarks.cluster_failures [NAME]...

On a SLURM of its own (tests/cluster/slurm_cluster.sh: root on Linux), with a process-group timeout of 20 s and nodes
that SLURM gives up after 15 s. Prints the table of docs/cluster/slurm.md; takes about a minute for each.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.cluster.conftest import Cluster, until
from tests.cluster.test_slurm import CONFIG, ROOT, Place

STEPS = ("--trainer.max_steps=200", "--trainer.strategy.timeout=0:00:20")
PACE = ("--trainer.callbacks+=tests.cluster.pace.Pace", "--trainer.callbacks.step=0.1")


class Failure(NamedTuple):
    """What breaks, and what repairs it: once the job has ended, or ``after`` so many seconds."""

    breaks: Callable[[Cluster], object]
    repairs: Callable[[Cluster], object] | None = None
    after: float | None = None


FAILURES = {
    "second rank killed": Failure(lambda cluster: cluster.signal(2, "KILL")),
    "first rank killed": Failure(lambda cluster: cluster.signal(1, "KILL")),
    "second rank stopped": Failure(lambda cluster: cluster.signal(2, "STOP")),
    "second node off": Failure(lambda c: c.control("kill-node", 2), lambda c: c.control("start-node", 2)),
    "second node's cable cut": Failure(lambda c: c.control("cut", 2), lambda c: c.control("heal", 2)),
    "first node's cable cut": Failure(lambda c: c.control("cut", 1), lambda c: c.control("heal", 1)),
    "cable cut for 8 s": Failure(lambda c: c.control("cut", 2), lambda c: c.control("heal", 2), after=8),
}


@contextmanager
def running(folder: Path) -> Iterator[Place]:
    """A cluster, and a place to submit from."""
    folder.chmod(0o755)
    (folder / "configs").symlink_to(ROOT / "configs")
    (folder / "tiny.yaml").write_text(CONFIG)
    cluster = Cluster(folder / "c", S2S_SLURM_NODE_TIMEOUT=15)
    cluster.start()
    try:
        yield Place(folder, cluster)
    finally:
        cluster.stop()


def observe(place: Place, failure: Failure) -> str:
    """A row of the table."""
    cluster, job = place.cluster, place.submit(*STEPS, *PACE)
    note = place.run(job) / "rank0"
    place.reaches(job, "step 20", 90)
    begin = time.monotonic()

    def passed() -> str:
        return f"{time.monotonic() - begin:.0f} s"

    def goes_on() -> None:
        stood = note.read_text()
        until(lambda: note.read_text() != stood, 120, "the training goes on")

    failure.breaks(cluster)
    if failure.after is None:
        until(lambda: cluster.shown(job, "Restarts") == "1", 180, "a requeue")
        ended = passed()
    else:
        time.sleep(failure.after)
        ended = "not at all"
    if failure.repairs:
        failure.repairs(cluster)
        begin = time.monotonic()
    goes_on()
    row = f"{ended} | {passed()}{' after the repair' if failure.repairs else ''}"
    cluster.login("scancel", job)
    until(lambda: cluster.login("sinfo", "-h", "-p", "main", "-o", "%D %t").strip() == "2 idle", 180, "idle nodes")
    return row


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="s2s-slurm-") as name, running(Path(name)) as place:
        print("| | the job is requeued after | the next step is made after |\n|---|---|---|", flush=True)
        for what in sys.argv[1:] or FAILURES:
            print(f"| {what} | {observe(place, FAILURES[what])} |", flush=True)
