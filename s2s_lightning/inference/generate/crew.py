"""Workers: this process, or several processes that each hold the model."""

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Protocol

from s2s_lightning.errors import UserError
from s2s_lightning.inference.generate.answers import Answer
from s2s_lightning.inference.generate.requests import Request
from s2s_lightning.inference.generate.session import Session, Setup, answer, start_worker

Answers = list[list[Answer]]
Later = Callable[[], Answers]
"""The answers, when they are needed."""


class Crew(Protocol):
    """Answers batches of requests; a batch is answered alike by whoever takes it."""

    ahead: int
    """Windows that may be handed out before the first of them is answered."""

    def submit(self, requests: Sequence[Request]) -> Later:
        """Hand out a batch."""


class Alone:
    """This process, which answers a batch when its answers are asked for."""

    ahead = 0

    def __init__(self, session: Session) -> None:
        self.session = session

    def submit(self, requests: Sequence[Request]) -> Later:
        return lambda: self.session.answer(requests)


class Workers:
    """Processes that share the batches out among themselves."""

    ahead = 1

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self.pool = pool

    def submit(self, requests: Sequence[Request]) -> Later:
        with _interrupts_held():
            future = self.pool.submit(answer, requests)

        def result() -> Answers:
            try:
                return future.result()
            except BrokenProcessPool as error:
                raise UserError(
                    "a worker process has ended, killed perhaps for want of memory: take fewer --processes or "
                    "--max_tokens; the same command continues"
                ) from error

        return result


@contextmanager
def workers(setup: Setup, processes: int, threads: int) -> Iterator[Workers]:
    """Start so many processes; they are gone after the context whatever happens."""
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), initializer=start_worker, initargs=(setup, threads)
    )
    try:
        yield Workers(pool)
    except BaseException:
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C waits meanwhile, and a process that begins here never hears it: the parent ends its workers."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
