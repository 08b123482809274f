"""torchrun, told for this program: ``python -m s2s_lightning.cluster.torchrun`` takes the arguments of ``torchrun``.

Its agent logs the exits of all workers, most of which it has brought about itself, and ends with a table of them. Here
a worker that has words for its end says them, and the agent says which worker was killed. A restart is news.
"""

import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from s2s_lightning.cluster.loopback import local_arguments, stay_on_this_machine

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

AGENT = "torch.distributed.elastic.agent.server.api"
WORKERS = "torch.distributed.elastic.multiprocessing.api"
MEETING = "torch.distributed.elastic.rendezvous.dynamic_rendezvous"
ERROR_FILES = "torch.distributed.elastic.multiprocessing.errors.error_handler"

_told: set[int] = set()
"""Processes whose end has been told here."""

DEFAULTS = {
    "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",  # shared, a node that comes back takes the agents of all down
    "TORCH_CPP_LOG_LEVEL": "ERROR",  # a store that is gone is worth no C++ stack
}


def main(args: Sequence[str] | None = None) -> None:
    """Run the agent of this node until the training is over; the exit code is that of the worker that failed first."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousError

    retell()
    stay_on_this_machine()
    try:
        run.main(local_arguments(sys.argv[1:] if args is None else args))
    except ChildFailedError as error:
        _, first = error.get_first_failure()
        if not any(told(failure) for failure in error.failures.values()):
            words = details(first).get("words", f"a worker of this node ended with exit code {first.exitcode}")
            print(f"error: {words}", file=sys.stderr)
        sys.exit(first.exitcode if first.exitcode > 0 else 128 - first.exitcode)
    except RendezvousError as error:
        print(f"error: the node where all meet does not answer: {error}; begin again on all nodes", file=sys.stderr)
        sys.exit(1)
    except SignalException as error:
        sys.exit(128 + error.sigval)


def retell() -> None:
    """Change what the agent logs."""
    logging.getLogger(AGENT).setLevel(logging.INFO)
    logging.getLogger(AGENT).addFilter(
        lambda record: record.levelno > logging.INFO or "will restart" in record.getMessage()
    )
    logging.getLogger(WORKERS).addFilter(_killed)
    for name in (ERROR_FILES, MEETING):
        logging.getLogger(name).addFilter(lambda record: False)


def details(failure: "ProcessFailure") -> dict[str, Any]:
    """Return the details that the worker left for torchrun (``cluster/attempts.py``)."""
    message = failure.error_file_data["message"]
    return message["extraInfo"] if isinstance(message, dict) else {}


def told(failure: "ProcessFailure") -> bool:
    """True if this node's terminal has the message, from the worker or, if it was killed, from this program."""
    return details(failure).get("told", False) or failure.pid in _told


def _killed(record: logging.LogRecord) -> bool:
    """Return the end of a worker that was killed by a signal which the agent has not sent."""
    if record.levelno >= logging.ERROR:
        code, local_rank, pid, _ = cast(tuple[int, int, int, str], record.args)
        if code < 0:
            _told.add(pid)
            how = f"was killed by {signal.Signals(-code).name}"
            print(f"error: local rank {local_rank} on {socket.gethostname()} {how}", file=sys.stderr, flush=True)
    return False


if __name__ == "__main__":
    main()
