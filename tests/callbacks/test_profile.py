"""The profile of a run, on a clock that only the parts of the network move."""

import gzip
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.profilers import PassThroughProfiler, SimpleProfiler

from s2s_lightning.callbacks import Profile
from s2s_lightning.callbacks.diagnostics.phases import Clock
from s2s_lightning.callbacks.diagnostics.profile import shares
from s2s_lightning.errors import UserError
from tests.helpers.toy import ToyData, ToyModule, toy_trainer

COSTS = {"encoder": 16.0, "decoder": 4.0, "readout and loss": 2.0, "objective": 1.0}


class Time:
    """Seconds that pass only when they are spent."""

    def __init__(self) -> None:
        self.now = 0.0

    def spend(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock_time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr("s2s_lightning.callbacks.diagnostics.phases.time.perf_counter", lambda: time.now)
    return time


def slowed(time: Time) -> ToyModule:
    """A module whose parts take the time of COSTS."""
    module = ToyModule()

    def slow(owner: Any, name: str, cost: float) -> None:
        kind = type(owner)
        inner: Callable[..., Any] = getattr(kind, name)

        def method(*args: Any, **options: Any) -> Any:
            time.spend(cost)
            return inner(*args, **options)

        owner.__class__ = type(kind.__name__, (kind,), {name: method})

    slow(module.model.encoder, "forward", COSTS["encoder"])
    slow(module.model.decoder, "forward", COSTS["decoder"])
    slow(module.model.readout, "cross_entropy", COSTS["readout and loss"])
    slow(module, "training_step", COSTS["objective"])
    return module


def fit(folder: Path, *callbacks: Any, module: ToyModule | None = None, **options: Any) -> ToyModule:
    module = module or ToyModule()
    trainer = toy_trainer(folder, callbacks=list(callbacks), **options)
    trainer.fit(module, datamodule=ToyData())
    assert isinstance(trainer.profiler, PassThroughProfiler | SimpleProfiler)
    return module


def test_each_moment_belongs_to_the_innermost_phase(clock_time: Time) -> None:
    rng = np.random.default_rng(0)
    clock, expected, stack = Clock(torch.device("cpu")), Counter[str](), ["trainer"]
    clock.start()
    for _ in range(200):
        seconds = float(rng.integers(1, 9))
        clock_time.spend(seconds)
        expected[stack[-1]] += seconds
        if len(stack) > 1 and rng.random() < 0.5:
            stack.pop()
            clock.leave()
        else:
            phase = rng.choice(["encoder", "decoder", ""])
            stack.append(phase or stack[-1])
            clock.enter(phase or None)
    assert clock.stop() == expected


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_parts_of_a_step_are_told_apart(tmp_path: Path, clock_time: Time, accumulate: int) -> None:
    profile = Profile(every=3, warmup=1, active=2)
    fit(tmp_path, profile, module=slowed(clock_time), accumulate_grad_batches=accumulate, max_epochs=2)
    steps = [bar for bar in profile.bars if bar.kind == "step"]
    assert len(steps) >= 3 / accumulate
    for bar in steps:
        spent = {phase: seconds for phase, seconds in bar.seconds.items() if seconds}
        assert spent == {phase: accumulate * COSTS[phase] for phase in COSTS}


def test_windows_begin_where_they_should_and_end_at_a_validation(tmp_path: Path) -> None:
    profile = Profile(every=4, warmup=1, active=2)
    fit(tmp_path, profile, max_epochs=2)
    kinds = {kind: [bar.step for bar in profile.bars if bar.kind == kind] for kind in ("step", "validation")}
    assert kinds == {"step": [1, 5, 9, 13, 17], "validation": [10, 20]}
    for bar in profile.bars:
        assert ("backward" in bar.seconds) == (bar.kind == "step")
        assert ("decoding" in bar.seconds) == (bar.kind == "validation")


def test_decoding_and_scoring_of_a_validation_are_told_apart(tmp_path: Path, clock_time: Time) -> None:
    """Scoring runs the encoder once a batch; decoding runs it, and the decoder once a step."""
    profile, module = Profile(), slowed(clock_time)
    counts = Counter[str]()
    module.model.encoder.register_forward_hook(lambda *_: counts.update(["encoder"]))
    module.model.decoder.register_forward_hook(lambda *_: counts.update(["decoder"]))
    fit(tmp_path, profile, module=module, limit_train_batches=1)
    (bar,) = [bar for bar in profile.bars if bar.kind == "validation"]
    batches = 3
    assert counts["encoder"] == 2 * batches + 1
    assert bar.seconds["scoring"] == batches * (COSTS["encoder"] + COSTS["decoder"])
    in_decoding = counts["decoder"] - batches - 1
    assert bar.seconds["decoding"] == batches * COSTS["encoder"] + in_decoding * COSTS["decoder"]


def test_a_profiled_run_is_bit_for_bit_the_run_without_and_leaves_nothing_behind(tmp_path: Path) -> None:
    plain, profiled = fit(tmp_path), fit(tmp_path, Profile(every=3, warmup=1, active=1, trace=True))
    for a, b in zip(plain.parameters(), profiled.parameters(), strict=True):
        assert torch.equal(a, b)
    for part in (*profiled.model.children(), profiled):
        assert not {"forward", "start", "cross_entropy", "generate"} & vars(part).keys()


def test_the_run_s_own_profiler_is_told_everything(tmp_path: Path) -> None:
    alone, beside = SimpleProfiler(), SimpleProfiler()
    fit(tmp_path, profiler=alone)
    fit(tmp_path, Profile(every=3, warmup=1, active=1), profiler=beside)
    counted = [{name: len(times) for name, times in p.recorded_durations.items()} for p in (alone, beside)]
    own = {name for name in counted[1] if "[Callback]Profile" in name}
    assert counted[0] == {name: count for name, count in counted[1].items() if name not in own}


def test_files_have_what_was_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profile = Profile(every=3, warmup=1, active=1, trace=True)
    fit(tmp_path, profile)
    rows = shares(profile.bars)
    for kind in ("step", "validation"):
        assert sum(row.share for row in rows if row.kind == kind) == pytest.approx(1)
    assert (tmp_path / "profile.png").read_bytes().startswith(b"\x89PNG")
    assert len((tmp_path / "profile.csv").read_text().splitlines()) == 1 + sum(len(b.seconds) for b in profile.bars)
    with gzip.open(tmp_path / "trace.json.gz", "rt") as file:
        names = {event.get("name") for event in json.load(file)["traceEvents"]}
    assert {"encoder", "decoder", "readout and loss"} <= names
    assert "where the time went" in capsys.readouterr().out


def test_a_window_longer_than_its_distance_is_refused() -> None:
    with pytest.raises(UserError, match="every=2"):
        Profile(every=2, active=3)
