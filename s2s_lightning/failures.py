"""A failure among several processes is told once: by the rank that it befell, with its name and host.

The ranks share a board, the store of their process group. Who fails writes its words there before it leaves. Its
leaving makes the collectives of the others fail, who find the words and leave in silence, with the same exit code.
Where no words are found, those who are left name the rank that does not answer. Before there is a process group, the
others give rank 0 time to say the same first, and what started them ends them when it has.
"""

import json
import os
import re
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeVar

from s2s_lightning.children import end_children, fate
from s2s_lightning.ranks import place
from s2s_lightning.signals import asked

USER_ERROR = 2
"""Exit code of a ``UserError``."""

GRACE = 2.0
"""Seconds that a rank leaves rank 0 to fail in the same way and to say so for all."""

START = 10.0
"""Seconds by which rank 0 may start more slowly: it imports and parses the same, and cannot be asked yet."""

PATIENCE = 10.0
"""Seconds after which a board that does not answer is given up, and ranks that have not left it."""

SYMPTOMS = re.compile(r"gloo|NCCL|TCPStore|Connection (closed|reset) by peer", re.IGNORECASE)
"""Of a collective that failed because another rank has left it."""

GONE = "no longer answers: it was killed (out of memory?) or stopped, or its node or network is down"

DIED = re.compile("Connection (closed|reset) by peer", re.IGNORECASE)
"""Of a collective whose other rank's process is dead, on a node that is not."""

AGENT = -1
"""The teller of a killed worker's end: torchrun's agent on its node."""

T = TypeVar("T")


class Failure(NamedTuple):
    """What ended a run, as the board has it."""

    words: str
    code: int
    teller: int
    """The rank that tells the user."""


def end(error: Exception, words: str, code: int) -> NoReturn:
    """End this process of several, telling the user what happened unless another rank does."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a starter that ends the others need not wait for this one
    board = Board.of_this_run()
    rank = place().rank if board is None else board.rank
    own = Failure(words, code, rank)
    first = _without_board(own) if board is None else board.first(own, lost_a_peer(error))
    if first.teller == rank:
        if code != USER_ERROR and first.words.endswith(words):
            traceback.print_exception(error)
        print(f"error: {' '.join(first.words.split())}", file=sys.stderr, flush=True)
    if first.teller != AGENT:
        _tell_torchrun(first, told=first.teller == rank)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends by itself, with the exit code of the failure
    if board is not None:
        board.leave()
    end_children()
    sys.exit(first.code)


def alone() -> bool:
    """Whether this process is the only one of its run."""
    return place().alone and Board.of_this_run() is None


def failed_before() -> int:
    """The exit code of what this is a restart of if another start cannot help, as the user's input is wrong; else 0.

    torchrun starts anew whatever has failed. It keeps what the attempts left in folders beside each other.
    """
    own, attempt = os.environ.get("TORCHELASTIC_ERROR_FILE"), int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))
    if not (own and attempt):
        return 0
    left = Path(own).parents[1].with_name(f"attempt_{attempt - 1}").glob("*/error.json")
    errors = [json.loads(path.read_text(encoding="utf-8")) for path in left]
    errors.sort(key=lambda error: error["message"]["extraInfo"]["told"])
    if not errors or errors[-1]["message"]["extraInfo"]["code"] != USER_ERROR:
        return 0
    Path(own).write_text(json.dumps(errors[-1]), encoding="utf-8")  # it is what this attempt ends of, too
    return USER_ERROR


def lost_a_peer(error: BaseException | None) -> bool:
    """Whether the error says no more than that another rank is gone."""
    while error is not None:
        if isinstance(error, RuntimeError) and SYMPTOMS.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def of_torchrun() -> bool:
    """Whether an agent looks after this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def agent_knows(symptom: str) -> bool:
    """Whether the agent has seen a worker of its own die, and tells so: it is the only one, or ends this one too."""
    return of_torchrun() and (bool(asked.number) or (not place().several_nodes and bool(DIED.search(symptom))))


def named(rank: int, host: str | None = None) -> str:
    """As the user reads it, with the host if it is given."""
    return f"rank {rank} on {host}" if host else f"rank {rank}"


def _without_board(own: Failure) -> Failure:
    """Of processes that have not found each other yet: an option that is wrong for all, a file that one has not."""
    here = place()
    if here.rank == 0:
        return own
    time.sleep(START + GRACE * here.local)  # rank 0's end, or that of the first on this machine, ends this one
    return own._replace(words=f"{named(here.rank, _host())}: {own.words}")


def _host() -> str | None:
    return socket.gethostname() if place().several_nodes else None


def _tell_torchrun(failure: Failure, told: bool) -> None:
    """Where torchrun, or what runs it, looks for the cause (torch.distributed.elastic.multiprocessing.errors)."""
    if path := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        details = {"py_callstack": failure.words, "timestamp": str(int(time.time())), "told": told, **failure._asdict()}
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"message": {"message": failure.words, "extraInfo": details}}, file)


def within(seconds: float, ask: Callable[[], T]) -> T | None:
    """The answer of a board that may be gone; None if there is none in time."""
    answers: list[T] = []

    def work() -> None:
        with suppress(RuntimeError):  # what torch raises when the store is gone
            answers.append(ask())

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    return answers[0] if answers else None


class Board:
    """What the ranks of a run know of each other's end.

    Args:
        store: of the process group; rank 0 or torchrun's agent serves it, so it may be gone.
    """

    def __init__(self, store: Any, rank: int, world: int) -> None:
        self.store = store
        self.rank = rank
        self.world = world
        self.silent: list[int] = []

    @classmethod
    def of_this_run(cls) -> "Board | None":
        """None before there is a process group."""
        distributed = sys.modules.get("torch.distributed")
        if distributed is None or not distributed.is_available() or not distributed.is_initialized():
            return None
        store = distributed.distributed_c10d._get_default_store()  # no public way leads to it
        return cls(store, distributed.get_rank(), distributed.get_world_size())

    def attend(self) -> None:
        """Say where this rank runs, for the day on which it cannot."""
        self._write("host", _host() or "")

    def first(self, own: Failure, lost: bool) -> Failure:
        """The failure that ended the run; ``own`` or another, ``lost``: this rank has only lost a peer."""
        found = within(PATIENCE, (lambda: self._of_a_peer(own)) if lost else (lambda: self._of_this_rank(own)))
        if found is not None:
            return found
        if not lost:
            return own._replace(words=f"{named(self.rank, _host())}: {own.words}")
        return Failure(f"{named(0)} {GONE}", 1, teller=AGENT if agent_knows(own.words) else 1)  # it served the board

    def leave(self) -> None:
        """Let the others' collectives fail; rank 0 stays until all have read the board, which it may serve."""
        within(GRACE, self._leave_group)
        within(GRACE, lambda: self._write("left", ""))
        if self.rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
            rest = {*range(self.world)} - {*self.silent}
            within(PATIENCE, lambda: self._wait(PATIENCE, lambda: all(self._has("left", rank) for rank in rest)))

    def _of_this_rank(self, own: Failure) -> Failure:
        self._write("cause", own.words)
        if self.rank == 0:
            self._wait(GRACE / 2, lambda: self._all("cause"))
        else:
            self._wait(GRACE, lambda: self._has("cause", 0) or self._told())
            if self._has("cause", 0):
                self._wait(GRACE, self._told)
        if not (self._all("cause") and {self._read("cause", rank) for rank in range(self.world)} == {own.words}):
            own = own._replace(words=f"{named(self.rank, _host())}: {own.words}")
        return self._claim(own)

    def _of_a_peer(self, own: Failure) -> Failure:
        """The words of the rank that has failed, which it leaves before it goes; without any, who it must be."""
        within(GRACE, self._leave_group)  # so that those who wait for this rank look at the board too
        self._write("lost", "")
        if not self._told() and agent_knows(own.words):
            return own._replace(teller=AGENT)
        self._wait(GRACE if self.rank == 0 else 2 * GRACE, self._told)
        if any(self._has("cause", rank) for rank in range(self.world)):
            self._wait(2 * GRACE, self._told)
        self.silent = [rank for rank in range(self.world) if not (self._has("lost", rank) or self._has("cause", rank))]
        ends = [f"{named(rank, self._read('host', rank))} {fate(rank) or GONE}" for rank in self.silent]
        return self._claim(own._replace(words="; ".join(ends) or own.words))

    def _claim(self, own: Failure) -> Failure:
        """The first that was written."""
        return Failure(*json.loads(self.store.compare_set("s2s_lightning/failure", "", json.dumps(own))))

    def _told(self) -> bool:
        return bool(self.store.check(["s2s_lightning/failure"]))

    @staticmethod
    def _key(what: str, rank: int) -> str:
        return f"s2s_lightning/{what}/{rank}"

    def _write(self, what: str, text: str) -> None:
        self.store.set(self._key(what, self.rank), text)

    def _read(self, what: str, rank: int) -> str:
        return self.store.get(self._key(what, rank)).decode() if self._has(what, rank) else ""

    def _has(self, what: str, rank: int) -> bool:
        return bool(self.store.check([self._key(what, rank)]))

    def _all(self, what: str) -> bool:
        return bool(self.store.check([self._key(what, rank) for rank in range(self.world)]))

    def _wait(self, seconds: float, over: Callable[[], bool]) -> None:
        """Until it is over, or the time is up."""
        end_of_wait = time.monotonic() + seconds
        while not over() and time.monotonic() < end_of_wait:
            time.sleep(0.05)

    def _leave_group(self) -> None:
        distributed = sys.modules["torch.distributed"]
        if distributed.is_initialized():
            distributed.destroy_process_group()
