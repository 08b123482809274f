"""The command ``sweep``, with trials that are scripts of a few milliseconds."""

import json
import math
import os
import signal
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.exceptions import StorageInternalError

from s2s_lightning.experiments.jobs.process import THREADS, environment
from s2s_lightning.experiments.sweeps import outage, trials
from s2s_lightning.experiments.sweeps.storage import open_storage
from s2s_lightning.experiments.sweeps.study import Study
from s2s_lightning.experiments.sweeps.sweep_file import read
from tests.cli.conftest import command, done
from tests.cli.test_start import LIGHT, imported_by
from tests.experiments.sweeps.conftest import Write, driver, table
from tests.experiments.sweeps.waits import WORDS

SETTINGS = [(a, c) for a in ("1", "2", "3") for c in ("x", "null")]
SLOW = {"a": {"values": [1, 2, 3]}}


def combinations(rows: list[dict[str, str]]) -> list[tuple[str, str]]:
    return sorted((row["a"], row["b.c"]) for row in rows)


def test_a_grid_runs_once_and_leaves_table_and_pictures(sweep_file: Write) -> None:
    file = sweep_file("""report $(echo $1 | sed 's/.*"a": \\([0-9]\\).*/\\1/')""")
    result = done("sweep", file, "--parallel", 3)
    rows = table()
    assert combinations(rows) == sorted(SETTINGS)
    assert [float(row["val/loss"]) for row in rows] == [float(row["a"]) for row in rows] == [1, 1, 2, 2, 3, 3]
    best = json.loads(Path(f"runs/sweeps/s/trials/{int(rows[0]['trial']):04}/trial.json").read_text())["command"]
    assert best[2] in result.out
    again = done("sweep", file)
    assert len(table()) == 6
    assert "begins" not in again.out
    for name in ("history", "parallel", "importance"):
        assert _colours(Path(f"runs/sweeps/s/{name}.png")) > 20
    assert Path("runs/sweeps/s/table.md").read_text().count("\n") == 8


def _colours(path: Path) -> int:
    from PIL import Image

    with Image.open(path) as image:
        return len(image.convert("RGB").getcolors(1 << 20) or ())


def test_a_trial_that_fails_is_told_with_its_last_words_and_the_others_go_on(sweep_file: Write) -> None:
    result = done("sweep", sweep_file('case $1 in *2*x*) echo "no twos" >&2; exit 1;; esac; report 1'))
    rows = table()
    assert [row["cause"] for row in rows] == ["", "", "", "", "", "no twos"]
    assert rows[-1]["state"] == "failed"
    assert "failed  no twos (runs/sweeps/s/trials/000" in result.out


@pytest.mark.parametrize(
    ("script", "cause"),
    [
        ("echo bad news; exit 3", "bad news"),
        ("echo ValueError: x; echo; echo wandb: see the logs; exit 1", "ValueError: x"),
        ("true", "it ended without a report of val/loss"),
        ("report NaN", "val/loss was never finite"),
        ("kill -9 $$", "SIGKILL; it said nothing"),
    ],
)
def test_failure_after_failure_ends_the_sweep(script: str, cause: str, sweep_file: Write) -> None:
    result = command("sweep", sweep_file(script))
    assert result.code == 2
    assert result.err.startswith(f"error: 3 trials in a row have failed, the last with: {cause} (runs/sweeps/s/trials/")
    assert len(table()) == 3


def test_a_bad_trial_is_told_to_stop_and_a_good_one_to_go_on(sweep_file: Write) -> None:
    script = """
n=0
for value in 5 4 3 2; do
    n=$((n + 1)); case $1 in *1*) report $value;; *) report 9;; esac
    until read count word < $S2S_LIGHTNING_TRIAL/answer && test $count -ge $n; do sleep 0.01; done 2> /dev/null
    if test $word = stop; then exit 0; fi
done
"""
    done("sweep", sweep_file(script, parameters=SLOW, early_terminate={"type": "hyperband", "min_iter": 2}))
    rows = [(row["a"], row["state"], row["validations"]) for row in table()]
    assert rows == [("1", "done", "4"), ("2", "stopped early", "2"), ("3", "stopped early", "2")]


def test_what_is_no_report_is_told(sweep_file: Write) -> None:
    result = command("sweep", sweep_file("report oops; sleep 9"))
    assert result.code == 2
    assert 'reports.jsonl: \'{"value": oops}\' is no report, such as {"value": 1.23}' in result.err


def test_a_sweep_without_any_result_is_an_error(sweep_file: Write) -> None:
    result = command("sweep", sweep_file("echo why; exit 1", parameters={"a": {"values": [1, 2]}}))
    assert result.code == 2
    assert result.err == "error: no trial has a result; the last failed with: why\n"


def test_a_trial_that_was_taken_for_lost_ends_here(sweep_file: Write) -> None:
    file = sweep_file("touch waiting; until test -e go; do sleep 0.02; done; report 1", parameters=SLOW)
    process = driver(str(file), "--storage", "journal:log")
    while not Path("waiting").exists():
        time.sleep(0.02)
    other = Study(read(file), open_storage("journal:log", Path()), "s", 3)
    other.give_back(other._handle(other.trials()[0]))
    Path("go").touch()
    said = process.communicate(timeout=60)[0]
    assert "trial 0  was given up by another process" in said
    assert sorted((row["a"], row["state"]) for row in table()) == [("1", "done"), ("2", "done"), ("3", "done")]


def gone(times: float) -> Callable[..., None]:
    """Stands for a call to a database that fails so many times."""
    left = [times]
    real = Study.complete

    def complete(*args: Any) -> None:
        left[0] -= 1
        if left[0] >= 0:
            raise StorageInternalError from OSError("the server closed the connection")
        real(*args)

    return complete


def test_a_study_that_is_away_for_a_while_is_waited_for(sweep_file: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outage, "RETRY", 0.01)
    monkeypatch.setattr(Study, "complete", gone(3))
    said = done("sweep", sweep_file("report 1", parameters=SLOW)).out
    assert said.count("the study cannot be reached: the server closed the connection; trials run on") == 1
    assert said.count("the study is there again") == 1
    assert [row["state"] for row in table()] == ["done"] * 3


def test_a_study_that_stays_away_ends_the_sweep_with_one_line(
    sweep_file: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outage, "RETRY", 0.01)
    monkeypatch.setattr(outage, "LONGEST", 0.1)
    file = sweep_file("report 1", parameters=SLOW)
    with monkeypatch.context() as patch:
        patch.setattr(Study, "complete", gone(math.inf))
        patch.setattr(Study, "give_back", gone(math.inf))
        result = command("sweep", file)
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "error: the study cannot be reached: the server closed the connection; the same command" in result.err
    monkeypatch.setattr(trials, "_runs", lambda pid: False)  # the process that it says runs it is this one
    done("sweep", file)
    assert sorted((row["a"], row["state"]) for row in table()) == [("1", "done"), ("2", "done"), ("3", "done")]


def test_the_best_validation_of_a_trial_counts(sweep_file: Write) -> None:
    script = "report 3; report 7; report NaN; report 5"
    done("sweep", sweep_file(script, metric={"name": "bleu", "goal": "maximize"}), "--count", 1)
    assert [row["bleu"] for row in table()] == ["7.0"]


def test_two_sweeps_side_by_side_share_a_grid(sweep_file: Write) -> None:
    file = sweep_file("sleep 0.3; report 1")
    both = [driver(str(file), "--parallel", "2") for _ in range(2)]
    said = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    done("sweep", file, "--at_most", 0)
    assert combinations(table()) == sorted(SETTINGS)
    assert sum(text.count("begins") for text in said) == 6
    assert all("begins" in text for text in said)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_sweep_that_is_ended_goes_on_with_the_same_command(number: signal.Signals, sweep_file: Write) -> None:
    file = sweep_file(f"if test -e go; then report 1; else {WORDS} waiting; fi", parameters=SLOW)
    first = driver(str(file))
    while not Path("waiting").exists():
        time.sleep(0.02)
    first.send_signal(number)
    said = first.communicate(timeout=60)[0]
    log = Path("runs/sweeps/s/trials/0000/output.log")
    while log.read_text() != "saved\n":  # what is running ends well, whatever has ended the sweep
        time.sleep(0.02)
    assert first.returncode == (-9 if number == signal.SIGKILL else 130)
    assert ("go on with: python -m s2s_lightning sweep" in said) == (number != signal.SIGKILL)
    Path("go").touch()
    done("sweep", file)
    assert sorted(row["a"] for row in table()) == ["1", "2", "3"]
    assert {row["state"] for row in table()} == {"done"}


def test_the_number_of_trials_is_that_of_the_count_the_cap_or_the_grid(sweep_file: Write) -> None:
    unlimited = {"method": "random", "parameters": {"lr": {"min": 0.0, "max": 1.0}}}
    assert "--count is needed: random has no end" in command("sweep", sweep_file(**unlimited)).err
    done("sweep", sweep_file(**unlimited, run_cap=2))
    assert len(table()) == 2
    done("sweep", sweep_file(**unlimited, run_cap=2), "--count", 4, "--at_most", 1)
    assert len(table()) == 3


def test_threads_and_gpus_are_shared(sweep_file: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    for name in THREADS:
        monkeypatch.delenv(name, raising=False)
    both = "until test $(ls runs/sweeps/s/trials | wc -l) = 2; do sleep .02; done"
    script = f"echo $CUDA_VISIBLE_DEVICES $OMP_NUM_THREADS; {both}; report 1"
    done("sweep", sweep_file(script), "--count", 2, "--parallel", 2)
    said = sorted(path.read_text().split() for path in Path("runs/sweeps/s/trials").glob("*/output.log"))
    threads = str(max(1, len(os.sched_getaffinity(0)) // 2))
    assert said == [["4", threads], ["7", threads]]
    assert {environment(0, 2)[name] for name in THREADS} == {threads}
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert environment(0, 1)["MKL_NUM_THREADS"] == "7"  # other sums than without a sweep would be other results


def test_a_command_that_cannot_be_started_is_one_line(sweep_file: Write) -> None:
    result = command("sweep", sweep_file(command=["./missing"]))
    assert result.code == 2
    assert result.err == "error: command: ./missing cannot be started: No such file or directory\n"


def test_a_changed_file_is_refused_by_name(sweep_file: Write) -> None:
    done("sweep", sweep_file(), "--count", 1)
    result = command("sweep", sweep_file(metric={"name": "val/bleu", "goal": "minimize"}))
    assert result.code == 2
    assert 'metric.name was "val/loss" and is "val/bleu"' in result.err


def test_help_imports_nothing_heavy() -> None:
    assert not imported_by("sweep", "--help") & {*LIGHT, "optuna", "matplotlib", "yaml"}


SBATCH = """#!/bin/sh
cp $1 submitted
grep -q '^#SBATCH --partition=none$' $1 && { echo "invalid partition" >&2; exit 1; }
for task in $(seq $(sed -n 's/#SBATCH --array=1-\\([0-9]*\\)%2/\\1/p' $1)); do bash $1 || exit 1; done
echo "Submitted batch job 7"
"""


@pytest.fixture
def _sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An sbatch that runs the tasks one after the other."""
    path = tmp_path / "bin" / "sbatch"
    path.parent.mkdir()
    path.write_text(SBATCH)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")


@pytest.mark.usefixtures("_sbatch")
def test_the_trials_are_an_array_job_over_one_study(sweep_file: Write) -> None:
    file = sweep_file(parameters=SLOW)
    result = done("sweep", file, "--parallel", 2, "--slurm=-p gpu --time=1:00:00")
    assert "Submitted batch job 7" in result.out
    options = [line for line in Path("submitted").read_text().splitlines() if line.startswith("#SBATCH")]
    assert {"#SBATCH --array=1-3%2", "#SBATCH -p gpu", "#SBATCH --time=1:00:00"} <= {*options}
    done("sweep", file, "--at_most", 0)
    assert sorted(row["a"] for row in table()) == ["1", "2", "3"]
    assert "all 3 trials are done or running" in command("sweep", file, "--slurm").err


@pytest.mark.usefixtures("_sbatch")
def test_what_sbatch_refuses_is_told(sweep_file: Write) -> None:
    file = sweep_file()
    assert "sweep.sbatch says: invalid partition" in command("sweep", file, "--slurm=--partition=none").err
    assert "it must be options of sbatch" in command("sweep", file, "--slurm=gpu").err


def test_without_sbatch_the_script_is_there_to_submit(sweep_file: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    result = command("sweep", sweep_file(), "--slurm")
    assert "submit it where there is one: sbatch runs/sweeps/s/sweep.sbatch" in result.err
    assert Path("runs/sweeps/s/sweep.sbatch").exists()
