"""Profile of training steps and validations, as a picture over the run."""

import csv
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.profiler import ProfilerActivity

from s2s_lightning.callbacks.diagnostics.phases import PHASES, Clock, Overlay, parts, timed
from s2s_lightning.callbacks.reports.media import log_picture, log_table
from s2s_lightning.errors import check_at_least
from s2s_lightning.runs.trainer_queries import network, run_folder

Kind = Literal["step", "validation"]


class Bar(NamedTuple):
    """Measurement at one place of the run.

    Attributes:
        kind: of what.
        step: the optimizer steps before it.
        seconds: of each phase; of a step their mean over the window.
    """

    kind: Kind
    step: int
    seconds: dict[str, float]


class Share(NamedTuple):
    """A row of the table: the mean of a phase, and its part of all phases of its kind."""

    kind: Kind
    phase: str
    seconds: float
    share: float


class Profile(Callback):
    """Shows where the time of training steps and of validations goes: ``profile.png``, ``profile.csv``, and a table.

    A step lasts from the fetching of its first batch to that of the next step's: data, embedding, encoder, decoder,
    readout and loss (which makes its own gradient), what else the objective does, backward, optimizer (with clipping),
    callbacks, and the trainer's rest. A validation lasts until training goes on: decoding, scoring, callbacks,
    checkpoint. On a GPU the host waits at each change of phase: so only chosen steps are measured, and it is the
    proportions that count.

    Lightning's profilers go on beside it: ``--trainer.profiler simple`` sums up its hooks over the whole run, and
    ``pytorch`` single operators; neither knows of encoder and decoder.

    Args:
        every: optimizer steps from one window to the next.
        warmup: optimizer steps before the first window.
        active: optimizer steps of a window, which make one bar.
        trace: write the first window as ``trace.json.gz``, for https://ui.perfetto.dev. It makes no bar, for being
            traced slows it.

    Raises:
        UserError: a window of no step, or longer than ``every``.
    """

    def __init__(self, every: int = 200, warmup: int = 10, active: int = 5, trace: bool = False) -> None:
        check_at_least(1, active=active)
        check_at_least(0, warmup=warmup)
        check_at_least(active, every=every)
        self.every = every
        self.warmup = warmup
        self.active = active
        self.trace = trace
        self.bars: list[Bar] = []
        self._clock = Clock(torch.device("cpu"))
        self._window = ExitStack()
        self._kind: Kind = "step"
        self._first = self._next = 0
        self._traces = self._trace_is_due = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.bars = []
        self._clock = Clock(trainer.strategy.root_device)
        self._next = trainer.global_step + self.warmup
        self._trace_is_due = self.trace
        inner = trainer.profiler  # type: ignore[attr-defined]
        overlay = Overlay(inner, self._clock, lambda: self._next_batch(trainer, pl_module))
        trainer.profiler = overlay  # type: ignore[attr-defined]

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._window.close()
        if isinstance(overlay := trainer.profiler, Overlay):  # type: ignore[attr-defined]
            trainer.profiler = overlay.inner  # type: ignore[attr-defined]

    def _next_batch(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Between two batches: what is over is closed, what is due is opened."""
        if self._kind == "validation" or trainer.global_step >= self._first + self.active:
            self._close(trainer)
        if not self._clock.runs and trainer.global_step >= self._next:
            self._next = trainer.global_step + self.every
            self._window.enter_context(timed(parts(network(pl_module)), self._clock))
            if self._trace_is_due:
                self._window.enter_context(traced(trainer))
            self._traces, self._trace_is_due = self._trace_is_due, False
            self._open("step", trainer.global_step)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        self._close(trainer)  # a window that the validation cuts short
        self._window.enter_context(timed([(pl_module, "generate", "decoding")], self._clock))
        self._open("validation", trainer.global_step)

    def _open(self, kind: Kind, step: int) -> None:
        self._kind, self._first = kind, step
        self._clock.start()

    def _close(self, trainer: Trainer) -> None:
        """Make a bar of what was measured; nothing where nothing was."""
        if not self._clock.runs:
            return
        seconds = self._clock.stop()
        self._window.close()
        count = 1 if self._kind == "validation" else trainer.global_step - self._first
        if count and not self._traces:
            means = {phase: seconds[phase] / count for phase in PHASES if phase in seconds}
            self.bars.append(Bar(self._kind, self._first, means))
        self._kind, self._traces = "step", False

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._close(trainer)
        if not self.bars or not trainer.is_global_zero:
            return
        folder, rows = run_folder(trainer), shares(self.bars)
        write(self.bars, folder / "profile.csv")
        draw(self.bars, folder / "profile.png")
        log_picture(trainer, "profile", folder / "profile.png")
        log_table(trainer, "profile", Share._fields, rows)
        pl_module.print("\n".join(["where the time went  (profile.png, profile.csv)", *map(_line, rows)]))


@contextmanager
def traced(trainer: Trainer) -> Iterator[None]:
    """Trace with torch.profiler while the context lasts; rank 0 writes its trace."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
    with torch.profiler.profile(activities=activities) as profiler:
        yield
    if trainer.is_global_zero:
        profiler.export_chrome_trace(str(run_folder(trainer) / "trace.json.gz"))


def shares(bars: Sequence[Bar]) -> list[Share]:
    """The phases of each kind that took any time."""
    rows = []
    for kind, those in by_kind(bars).items():
        total = sum(sum(bar.seconds.values()) for bar in those)
        sums = {phase: sum(bar.seconds.get(phase, 0.0) for bar in those) for phase in PHASES}
        rows += [Share(kind, phase, sums[phase] / len(those), sums[phase] / total) for phase in PHASES if sums[phase]]
    return rows


def by_kind(bars: Sequence[Bar]) -> dict[Kind, list[Bar]]:
    """Steps, then validations, if there are any."""
    kinds: tuple[Kind, ...] = ("step", "validation")
    parts = {kind: [bar for bar in bars if bar.kind == kind] for kind in kinds}
    return {kind: those for kind, those in parts.items() if those}


def _line(row: Share) -> str:
    return f"  {row.kind:<10}  {row.phase:<16}  {1000 * row.seconds:>10.2f} ms  {row.share:>6.1%}"


def write(bars: Sequence[Bar], path: Path) -> None:
    """A row a bar and phase."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["kind", "step", "phase", "seconds"])
        writer.writerows((bar.kind, bar.step, *entry) for bar in bars for entry in bar.seconds.items())


def draw(bars: Sequence[Bar], path: Path) -> None:
    """Stacked bars over the run, steps above and validations below."""
    from matplotlib.figure import Figure

    kinds = by_kind(bars)
    figure = Figure(figsize=(8, 3 * len(kinds)), dpi=100, layout="constrained")
    for axes, (kind, those) in zip(figure.subplots(len(kinds), squeeze=False)[:, 0], kinds.items(), strict=True):
        _stack(axes, those)
        axes.set(xlabel="optimizer steps before it", ylabel=f"ms of a {kind}")
    figure.savefig(path)


def _stack(axes: Any, bars: Sequence[Bar]) -> None:
    from matplotlib import colormaps

    bottom = [0.0] * len(bars)
    for phase, colour in zip(PHASES, map(colormaps["tab20"], range(20)), strict=False):
        heights = [1000 * bar.seconds.get(phase, 0.0) for bar in bars]
        if any(heights):
            axes.bar(range(len(bars)), heights, 0.8, bottom, label=phase, color=colour)
        bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    places = range(0, len(bars), -(-len(bars) // 12))
    axes.set_xticks(places, [str(bars[i].step) for i in places])
    axes.set_xlim(-0.6, max(len(bars), 6) - 0.4)  # one bar alone is no wall
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), reverse=True)
