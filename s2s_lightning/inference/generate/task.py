"""The whole of a run: requests in, lines out, with a bar and a word at the end about what was not as usual."""

import sys
from collections.abc import Iterable
from functools import partial
from typing import BinaryIO, NamedTuple, Protocol

from tqdm import tqdm

from s2s_lightning.decoding.distinct_outputs import widened
from s2s_lightning.inference.generate.answers import BLANK
from s2s_lightning.inference.generate.attention_pictures import Pictures
from s2s_lightning.inference.generate.crew import Alone, Crew
from s2s_lightning.inference.generate.formats import Format
from s2s_lightning.inference.generate.requests import Request
from s2s_lightning.inference.generate.session import Session
from s2s_lightning.inference.generate.source_length import Cutter
from s2s_lightning.inference.generate.windows import Answered, answered_windows


class Sink(Protocol):
    """Destination of lines."""

    done: int
    """Requests whose answers it has already."""

    def write(self, lines: bytes, requests: Iterable[Request]) -> None:
        """The answers to the next requests."""


class Stream:
    """Stdout, a pipe or a device: written window by window, so that a reader sees each.

    Args:
        file: it.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.done = 0

    def write(self, lines: bytes, requests: Iterable[Request]) -> None:
        self.file.write(lines)
        self.file.flush()


class Manner(NamedTuple):
    """Manner in which requests are answered and written.

    Attributes:
        format: of the lines.
        window: requests that are sorted by length and batched together.
        ask_blank: whether the model is asked where a request asks nothing.
        ahead: whether requests may be read before earlier ones are answered; not from a pipe, which may wait for them.
        pictures: of attention.
    """

    format: Format
    window: int
    ask_blank: bool = False
    ahead: bool = False
    pictures: Pictures | None = None


class Task:
    """Answers requests.

    Args:
        session: the model of this process.
        cutter: what becomes of long sources.
        manner: how.
    """

    def __init__(self, session: Session, cutter: Cutter, manner: Manner) -> None:
        self.session = session
        self.cutter = cutter
        self.manner = manner
        self.unfinished = 0
        self.asked = self.short = 0

    def run(self, requests: Iterable[Request], crew: Crew, sink: Sink, total: int | None = None) -> None:
        """Answer from the first request that the sink has no answers to; ``total`` counts all, if that is known."""
        windows = partial(
            answered_windows,
            crew=crew,
            cutter=self.cutter,
            plan=self.session.plan,
            size=self.manner.window,
            ahead=crew.ahead if self.manner.ahead else 0,
            ask_blank=self.manner.ask_blank,
        )
        with tqdm(
            desc="generate", unit=" lines", delay=2, disable=None, file=sys.stderr, total=total, initial=sink.done
        ) as bar:
            for rows in windows(requests, first=sink.done + 1, progress=bar.update):
                sink.write(self.lines(sink.done, rows), [row.request for row in rows])
                bar.n = sink.done
        self._say()

    def lines(self, first: int, rows: list[Answered]) -> bytes:
        """Return the lines of requests from the index ``first`` on."""
        for index, (_, answers) in enumerate(rows, first):
            self.unfinished += not answers[0].output.finished
            self.asked += 1
            self.short += answers[0] is not BLANK and len(answers) < self.session.num_outputs
            if self.manner.pictures is not None:
                self.manner.pictures.add(index, answers)
        return "".join(self.manner.format(i, *row) for i, row in enumerate(rows, first)).encode()

    def answer(self, request: Request) -> str:
        """The lines for a request alone."""
        (rows,) = answered_windows([request], Alone(self.session), self.cutter, self.session.plan, size=1)
        return self.lines(0, rows).decode()

    def _say(self) -> None:
        if self.cutter.cut:
            print(
                f"{self.cutter.cut:,} sources of more than {self.cutter.max_tokens} tokens: --long {self.cutter.rule}",
                file=sys.stderr,
            )
        if self.unfinished:
            print(
                f"{self.unfinished:,} outputs did not end and were cut at the maximum length of the search",
                file=sys.stderr,
            )
        if self.short and widened(self.session.decoding, 1) is not None:
            number = self.session.num_outputs
            print(
                f"{self.short:,} of {self.asked:,} sentences have fewer than {number} different outputs",
                file=sys.stderr,
            )
