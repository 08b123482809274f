"""The board on which ranks that train together write what has ended them: the store of their process group."""

import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

from s2s_lightning.cluster.children import fate
from s2s_lightning.cluster.place import host, named, of_torchrun, place
from s2s_lightning.cluster.signals import asked

GRACE = 2.0
"""Seconds that a rank leaves rank 0 to fail in the same way and to say so for all."""

PATIENCE = 12.0
"""Seconds after which a board that does not answer is given up, and ranks that have not left it."""

GONE = "no longer answers: it was killed (out of memory?) or stopped, or its node or network is down"

DIED = re.compile("Connection (closed|reset) by peer", re.IGNORECASE)
"""Of a collective whose other rank's process is dead, on a node that is not."""

AGENT = -1
"""The teller of a killed worker's end: torchrun's agent on its node."""

T = TypeVar("T")


class Failure(NamedTuple):
    """Cause of the end of a run, as the board has it."""

    words: str
    code: int
    teller: int
    """The rank that tells the user."""


def agent_knows(symptom: str) -> bool:
    """True if the agent has seen one of its workers die: it is the only worker, or the agent ends this one, too."""
    return of_torchrun() and (bool(asked.number) or (not place().several_nodes and bool(DIED.search(symptom))))


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
    """Board on which the ranks of a run leave the cause of their end.

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
        self._write("host", host() or "")

    def first(self, own: Failure, lost: bool) -> Failure:
        """The failure that ended the run; ``own`` or another, ``lost``: this rank has only lost a peer."""
        found = within(PATIENCE, (lambda: self._of_a_peer(own)) if lost else (lambda: self._of_this_rank(own)))
        if found is not None:
            return found
        if not lost:
            return own._replace(words=f"{named(self.rank, host())}: {own.words}")
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
            own = own._replace(words=f"{named(self.rank, host())}: {own.words}")
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
