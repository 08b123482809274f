"""A study shared by several processes, on both kinds of storage."""

import os
from pathlib import Path
from typing import Any

import pytest

from s2s_lightning.errors import UserError
from s2s_lightning.experiments.sweeps.storage import open_storage
from s2s_lightning.experiments.sweeps.study import Study
from s2s_lightning.experiments.sweeps.sweep_file import from_settings
from s2s_lightning.experiments.sweeps.trials import _machine, _runs

SETTINGS: dict[str, Any] = {
    "method": "grid",
    "metric": {"name": "loss"},
    "parameters": {"a": {"values": [1, 2, 3]}, "b": {"values": [None, "x"]}},
    "command": ["true"],
}
RANDOM = {**SETTINGS, "method": "random", "parameters": {"lr": {"min": 0.0, "max": 1.0}}}
DEAD = 2**22 + 1
"""No process has this number: Linux ends at 2**22."""


@pytest.fixture(params=["sqlite:///", "journal:"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"{request.param}{tmp_path / 'study'}"


@pytest.fixture
def journal(tmp_path: Path) -> str:
    return f"journal:{tmp_path / 'study'}"


def pair(url: str, folder: Path) -> tuple[Study, Study]:
    """Two that share a storage, each as another process has it."""
    sweep = from_settings("s", SETTINGS)
    first, second = (Study(sweep, open_storage(url, folder), "s", 6) for _ in range(2))
    return first, second


@pytest.fixture
def studies(url: str, tmp_path: Path) -> tuple[Study, Study]:
    return pair(url, tmp_path)


def points(*studies: Study) -> list[tuple[Any, ...]]:
    return [tuple(studies[0].values(trial).values()) for trial in studies[0].real()]


def test_two_take_each_point_of_a_grid_once(studies: tuple[Study, Study]) -> None:
    claims = [study.claim() for _ in range(4) for study in studies]
    assert sum(claim is not None for claim in claims) == 6
    assert sorted(points(*studies), key=str) == sorted(((a, b) for a in (1, 2, 3) for b in (None, "x")), key=str)


def test_a_lost_trial_has_one_successor_with_its_parameters(studies: tuple[Study, Study]) -> None:
    first, second = studies
    kept, lost = first.claim(), first.claim()
    assert kept is not None
    assert lost is not None
    lost.set_user_attr("owner", (_machine(), DEAD))
    assert second.give_up_lost_ones() == [lost.number]
    assert first.give_up_lost_ones() == []
    old = second.trials()[lost.number]
    (made,) = [trial for trial in (second._successor(old), first._successor(old)) if trial]
    assert made.params == old.params
    while (first.claim() or second.claim()) is not None:
        pass
    assert len(set(points(first))) == len(points(first)) == 6


def test_a_trial_of_another_machine_is_lost_when_it_has_been_silent_for_long(journal: str, tmp_path: Path) -> None:
    first, second = pair(journal, tmp_path)
    silent, busy = first.claim(), first.claim()
    assert silent is not None
    assert busy is not None
    for trial in (silent, busy):
        trial.set_user_attr("owner", ("elsewhere", DEAD))
    silent.set_user_attr("alive", 0.0)
    assert second.give_up_lost_ones() == [silent.number]


def test_a_trial_that_another_process_has_given_up_can_still_end(journal: str, tmp_path: Path) -> None:
    first, second = pair(journal, tmp_path)
    trial = first.claim()
    assert trial is not None
    second.give_back(second._handle(first.trials()[0]))
    first.complete(trial, [1.0], stopped=False)
    assert first.real() == []


def test_random_draws_repeat_from_study_to_study_and_never_within_one(tmp_path: Path) -> None:
    sweep = from_settings("s", RANDOM)
    drawn = []
    for name in ("one", "two"):
        folder = tmp_path / name
        both = [Study(sweep, open_storage(f"journal:{folder}/log", folder), "s", 5) for _ in range(2)]
        claims = [study.claim() for _ in range(3) for study in both]
        assert claims[-1] is None
        drawn.append(points(*both))
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) == 5


def test_what_is_given_back_beyond_the_limit_runs_when_the_limit_is_raised(journal: str, tmp_path: Path) -> None:
    sweep, storage = from_settings("s", SETTINGS), open_storage(journal, tmp_path)
    first, late = Study(sweep, storage, "s", 2), Study(sweep, storage, "s", 2)
    assert first.claim()
    assert first.claim()
    assert late._begin() is None  # as if it had looked before the others claimed theirs
    assert len(first.real()) == 2
    raised = Study(sweep, storage, "s", 6)
    while raised.claim():
        pass
    assert len(set(points(raised))) == len(points(raised)) == 6


def test_bayes_draws_beside_running_trials_what_is_not_theirs(tmp_path: Path) -> None:
    sweep = from_settings("s", {**RANDOM, "method": "bayes"})
    study = Study(sweep, open_storage(f"journal:{tmp_path}/log", tmp_path), "s", 16)
    for _ in range(12):
        trial = study.claim()
        assert trial is not None
        study.complete(trial, [abs(trial.params["lr"] - 0.5)], stopped=False)
    drawn = [trial.params["lr"] for trial in (study.claim() for _ in range(4)) if trial]
    assert len(set(drawn)) == 4
    assert sum(abs(lr - 0.5) < 0.25 for lr in drawn) >= 3  # it has learnt where the best are


def test_the_target_ends_a_study(tmp_path: Path) -> None:
    sweep = from_settings("s", {**SETTINGS, "metric": {"name": "bleu", "goal": "maximize", "target": 30}})
    study = Study(sweep, open_storage(f"journal:{tmp_path}/log", tmp_path), "s", 6)
    for value in (29.0, 31.0):
        trial = study.claim()
        assert trial is not None
        study.complete(trial, [value], stopped=False)
    assert study.claim() is None


def test_another_file_is_refused_with_what_has_changed(journal: str, tmp_path: Path) -> None:
    storage = open_storage(journal, tmp_path)
    Study(from_settings("s", SETTINGS), storage, "s", 6)
    Study(from_settings("s", {**SETTINGS, "run_cap": 3, "description": "other words"}), storage, "s", 6)
    changed = {**SETTINGS, "parameters": {**SETTINGS["parameters"], "a": {"values": [1, 2]}}}
    with pytest.raises(UserError, match=r"parameters.a.values was \[1, 2, 3\] and is \[1, 2\].*--folder"):
        Study(from_settings("s", changed), storage, "s", 6)


@pytest.mark.parametrize("url", ["postgresql+nodriver://x/y", "nonsense", "sqlite:////proc/no/such/place.db"])
def test_a_storage_that_cannot_be_opened_is_one_line(url: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--storage"):
        open_storage(url, tmp_path)


def test_this_process_is_alive() -> None:
    assert _runs(os.getpid())
    assert not _runs(DEAD)
