"""Windows of requests: cut, sorted into batches, answered, and put together again in their order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from s2s_lightning.data.cache import chunks
from s2s_lightning.inference.generate.answers import BLANK, Answer, joined
from s2s_lightning.inference.generate.crew import Crew, Later
from s2s_lightning.inference.generate.requests import Request
from s2s_lightning.inference.generate.source_length import Cutter, Piece

Plan = Callable[[Sequence[Request]], list[list[int]]]


class Answered(NamedTuple):
    """A request and the answers to it, best first."""

    request: Request
    answers: list[Answer]


class Batch(NamedTuple):
    """The places of some pieces in their window, and the answers to them."""

    places: list[int]
    later: Later


class Window(NamedTuple):
    """Requests that are being answered, the pieces of each, and who answers them."""

    requests: Sequence[Request]
    pieces: list[list[Piece]]
    batches: list[Batch]

    def answered(self, progress: Callable[[int], object]) -> list[Answered]:
        """Waits for the answers; ``progress`` hears how many pieces were answered, batch by batch."""
        found: dict[int, list[Answer]] = {}
        for places, later in self.batches:
            found.update(zip(places, later(), strict=True))
            progress(len(places))
        place = 0
        rows = []
        for request, pieces in zip(self.requests, self.pieces, strict=True):
            answers = [found.get(place + i, [BLANK]) for i in range(len(pieces))]
            rows.append(Answered(request, joined(answers, [piece.separator for piece in pieces])))
            place += len(pieces)
        return rows


def answered_windows(
    requests: Iterable[Request],
    crew: Crew,
    cutter: Cutter,
    plan: Plan,
    *,
    size: int,
    first: int = 1,
    ahead: int = 0,
    ask_blank: bool = False,
    progress: Callable[[int], object] = lambda pieces: None,
) -> Iterator[list[Answered]]:
    """Yield all requests with their answers, in their order, a window at a time.

    Args:
        requests: read as far as they are needed.
        crew: who answers.
        cutter: what becomes of long ones.
        plan: which requests make a batch.
        size: requests of a window.
        first: the line of the first.
        ahead: windows that are handed out before the first of them must be answered.
        ask_blank: whether the model is asked where a request asks nothing.
        progress: hears how many pieces were answered.
    """
    waiting: deque[Window] = deque()
    for chunk in chunks(requests, size):
        pieces = [cutter(request, number) for number, request in enumerate(chunk, first)]
        first += len(chunk)
        waiting.append(Window(chunk, pieces, _hand_out(pieces, crew, plan, ask_blank)))
        if len(waiting) > ahead:
            yield waiting.popleft().answered(progress)
    for window in waiting:
        yield window.answered(progress)


def _hand_out(pieces: list[list[Piece]], crew: Crew, plan: Plan, ask_blank: bool) -> list[Batch]:
    flat = [piece.request for of_one in pieces for piece in of_one]
    places = [place for place, request in enumerate(flat) if ask_blank or not request.blank]
    asked = [flat[place] for place in places]
    return [Batch([places[i] for i in rows], crew.submit([asked[i] for i in rows])) for rows in plan(asked)]
