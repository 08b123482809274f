"""A failure among several processes is told once: by the rank that it befell, with its name and host.

The ranks share a board (``board.py``). Who fails writes its words there before it leaves. Its
leaving makes the collectives of the others fail, who find the words and leave in silence, with the same exit code.
Where no words are found, those who are left name the rank that does not answer. Before there is a process group, the
others give rank 0 time to say the same first, and what started them ends them when it has.
"""

import re
import signal
import sys
import time
import traceback
from typing import NoReturn

from s2s_lightning.cluster import attempts
from s2s_lightning.cluster.board import AGENT, GRACE, Board, Failure
from s2s_lightning.cluster.children import any_children, end_children
from s2s_lightning.cluster.place import host, named, place
from s2s_lightning.errors import without_secrets

USER_ERROR = 2
"""Exit code of a ``UserError``."""

START = 10.0
"""Seconds by which rank 0 may start more slowly: it imports and parses the same, and cannot be asked yet."""

SYMPTOMS = re.compile(r"gloo|NCCL|TCPStore|Connection (closed|reset) by peer", re.IGNORECASE)
"""Of a collective that failed because another rank has left it."""


def end(error: Exception, words: str, code: int) -> NoReturn:
    """End this process of several, telling the user what happened unless another rank does."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(code))  # from a starter that ends the others of a failed one
    board = Board.of_this_run()
    rank = place().rank if board is None else board.rank
    own = Failure(without_secrets(words), code, rank)
    first = _without_board(own) if board is None else board.first(own, lost_a_peer(error))
    if first.teller == rank:
        if code != USER_ERROR and first.words.endswith(words):
            sys.stderr.write(without_secrets("".join(traceback.format_exception(error))))
        print(f"error: {' '.join(first.words.split())}", file=sys.stderr, flush=True)
    if first.teller != AGENT:
        attempts.leave(first, told=first.teller == rank)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends by itself, with the exit code of the failure
    if board is not None:
        board.leave()
    end_children()
    sys.exit(first.code)


def alone() -> bool:
    """True if this process is the only one of its run."""
    return place().alone and Board.of_this_run() is None and not any_children()


def doomed() -> bool:
    """True if this is a restart after an error of the user."""
    return attempts.doomed(USER_ERROR)


def lost_a_peer(error: BaseException | None) -> bool:
    """True if the error says no more than that another rank is gone."""
    while error is not None:
        if isinstance(error, RuntimeError) and SYMPTOMS.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def _without_board(own: Failure) -> Failure:
    """Return the failure of processes that have not found each other yet: a wrong option, or a file that one of them
    lacks.
    """
    here = place()
    if here.rank == 0:
        return own
    time.sleep(START + GRACE * here.local)  # rank 0's end, or that of the first on this machine, ends this one
    return own._replace(words=f"{named(here.rank, host())}: {own.words}")
