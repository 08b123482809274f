"""Phases of the work of a run: a clock, and the hooks at which each phase begins and ends."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from lightning.pytorch.profilers import Profiler
from torch.profiler import record_function

from s2s_lightning.model import Seq2Seq

ACTIONS = {
    "train_dataloader_next": "data",
    "val_next": "data",
    "batch_to_device": "data",
    "training_step": "objective",
    "validation_step": "scoring",
    "backward": "backward",
    "optimizer_step": "optimizer",
    "save_checkpoint": "checkpoint",
}
"""How Lightning's name of what it does ends -> the phase that it is."""

NEXT_BATCH = "train_dataloader_next"
REST = "trainer"
PHASES = (
    *("data", "embedding", "encoder", "decoder", "readout and loss", "objective", "backward", "optimizer"),
    *("decoding", "scoring", "checkpoint", "callbacks", REST),
)
"""In the order of a step, then of a validation."""


class Clock:
    """Gives each moment to the innermost phase that is open, so that the phases add up to all the time between.

    Args:
        device: to wait for at each change of phase, since on a GPU work is only queued.
    """

    def __init__(self, device: torch.device) -> None:
        self._waits = device.type != "cpu"
        self._open: list[str] = []
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._since = 0.0
        self.runs = False

    def start(self) -> None:
        """Run from now on, from zero."""
        self._seconds.clear()
        self._since = self._now()
        self.runs = True

    def stop(self) -> dict[str, float]:
        """Stand still; the seconds of each phase since the start."""
        self._settle()
        self.runs = False
        return dict(self._seconds)

    def enter(self, phase: str | None) -> None:
        """Open a phase; None is a part of the one that is open."""
        self._settle()
        self._open.append(phase or self._innermost)

    def leave(self) -> None:
        """Close the innermost phase."""
        self._settle()
        if self._open:  # what was open when this clock was made was never entered
            self._open.pop()

    @property
    def _innermost(self) -> str:
        return self._open[-1] if self._open else REST

    def _settle(self) -> None:
        if self.runs:
            now = self._now()
            self._seconds[self._innermost] += now - self._since
            self._since = now

    def _now(self) -> float:
        if self._waits:
            torch.accelerator.synchronize()
        return time.perf_counter()

    def within(self, phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function as a phase, under its name in a trace of torch.profiler too."""

        @wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            self.enter(phase)
            try:
                with record_function(phase):
                    return function(*args, **kwargs)
            finally:
                self.leave()

        return timed


class Overlay(Profiler):
    """Lightning tells its profiler what it does; this one tells a clock too, and passes it on to the run's own.

    Args:
        inner: the profiler of the run.
        clock: to tell.
        next_batch: called before a training batch is fetched, which is the first moment of a step.
    """

    def __init__(self, inner: Profiler, clock: Clock, next_batch: Callable[[], None]) -> None:
        super().__init__()
        self.inner = inner
        self._clock = clock
        self._next_batch = next_batch

    def start(self, action_name: str) -> None:
        if action_name.endswith(NEXT_BATCH):
            self._next_batch()
        self.inner.start(action_name)
        self._clock.enter(phase_of(action_name))

    def stop(self, action_name: str) -> None:
        self._clock.leave()
        self.inner.stop(action_name)


def phase_of(action: str) -> str | None:
    """The phase of one of Lightning's actions, None for what is a part of another."""
    if action.startswith("[Callback]"):
        return "callbacks"
    return next((phase for end, phase in ACTIONS.items() if action.endswith(end)), None)


Method = tuple[Any, str, str]
"""Its owner, its name, and the phase that it is."""


@contextmanager
def timed(methods: Sequence[Method], clock: Clock) -> Iterator[None]:
    """Time these methods as phases while the context lasts; a step outside of it pays nothing for them."""
    once = {(id(owner), name): (owner, name, phase) for owner, name, phase in methods}.values()
    for owner, name, phase in once:
        setattr(owner, name, clock.within(phase, getattr(owner, name)))
    try:
        yield
    finally:
        for owner, name, _ in once:
            delattr(owner, name)


def parts(model: Seq2Seq) -> list[Method]:
    """Return the methods of the parts of a network that the contract knows; both sides may share an embedding."""
    return [
        (model.src_embedding, "forward", "embedding"),
        (model.encoder, "forward", "encoder"),
        (model.decoder, "start", "decoder"),
        (model.tgt_embedding, "forward", "embedding"),
        (model.decoder, "forward", "decoder"),
        (model.readout, "forward", "readout and loss"),
        (model.readout, "cross_entropy", "readout and loss"),
    ]
