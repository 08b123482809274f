"""``fit --seeds``, with trainings that are scripts of a few milliseconds."""

import csv
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import fmean, stdev

import pytest

from s2s_lightning.cli.commands.seeds import arguments, joined
from s2s_lightning.evaluation.metrics import TER
from s2s_lightning.experiments.seeds.group import Seed
from s2s_lightning.experiments.seeds.seeds_report import write_references
from tests.cli.conftest import command, done
from tests.cli.test_start import LIGHT, imported_by
from tests.experiments.sweeps.waits import WORDS

FOLDER = Path("runs/seeds/tiny")
REAL = sys.executable

PYTHON = """#!/bin/sh
# Stands for Python: a "training" that leaves what fit leaves, unless the file "script" says otherwise.
for word in "$@"; do case $word in
  --seed_everything=*) seed=${word#*=};;
  --run=*) run=${word#*=};;
esac; done
mkdir -p $run
echo "$@" >> $run/calls
. ./script
mkdir -p $run/checkpoints
echo '{}' > $run/run.json
echo 'checkpoint: {monitor: val/loss, mode: null}' > $run/config.yaml
printf 'step,train/loss,val/loss,val/bleu\\n1,3.0,,\\n2,,0.%s,10\\n4,,9.0,20\\n' $seed > $run/metrics.csv
echo '{"step": 4, "scores": {"bleu": {"value": '$seed'}}}' > $run/test_scores.json
echo '{"references": ["a", "b"]}' > $run/predictions.jsonl
echo a > $run/predictions.txt
echo '{"step": 4}' > $run/finished.json
"""


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a training does first, in a folder of its own that is the current one."""
    monkeypatch.chdir(tmp_path)
    python = tmp_path / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    (tmp_path / "tiny.yaml").write_text("trainer: {max_steps: 4}\n")
    (tmp_path / "script").touch()
    return tmp_path / "script"


FIT = ("fit", "--config", "tiny.yaml", "--seeds")


def calls(seed: int) -> list[str]:
    """The command lines of a seed's trainings."""
    return (FOLDER / f"seed_{seed}" / "calls").read_text().splitlines()


@pytest.mark.usefixtures("script")
def test_each_seed_is_a_run_and_the_table_has_mean_and_deviation() -> None:
    result = done(*FIT, 1, 2, 4, "--parallel", 2)
    assert calls(2) == [
        "-m s2s_lightning fit --config tiny.yaml --test_best=true --seed_everything=2 --run=runs/seeds/tiny/seed_2"
    ]
    lines = {words[0]: words[1:] for line in result.out.splitlines() if (words := line.split())}
    values = [0.1, 0.2, 0.4]
    assert lines["val/loss"] == [*map(str, values), f"{fmean(values):.4g}", f"{stdev(values):.4g}"]
    assert lines["val/bleu"] == ["10", "10", "10", "10", "0"]  # of the best checkpoint, and not the last validation
    assert lines["test/bleu"] == ["1", "2", "4", f"{7 / 3:.4g}", f"{stdev([1, 2, 4]):.4g}"]
    with (FOLDER / "table.csv").open(newline="") as file:
        assert [(row["seed"], float(row["val/loss"])) for row in csv.DictReader(file)] == [
            ("1", 0.1), ("2", 0.2), ("4", 0.4),
        ]  # fmt: skip


@pytest.mark.usefixtures("script")
def test_the_command_that_is_printed_compares_the_seeds() -> None:
    def printed(out: str) -> list[str]:
        return shlex.split(next(line for line in out.splitlines() if " compare " in line))[3:]

    words = printed(done(*FIT, 1, 2).out)
    assert words[-1] == "tiny=runs/seeds/tiny/seed_*/predictions.txt"
    scored = json.loads(done(*words, "--metrics", "exact_match", "--format", "json").out)
    assert scored["references"] == ["runs/seeds/tiny/references.txt", "runs/seeds/tiny/references.2.txt"]
    assert printed(done(*FIT, 1).out)[-1] == "tiny=runs/seeds/tiny/seed_1/predictions.txt"


def test_a_seed_that_fails_is_told_and_the_others_go_on(script: Path) -> None:
    script.write_text('if test $seed = 2; then touch $run/run.json; echo "error: it burns" >&2; exit 2; fi')
    result = command(*FIT, 1, 2, 3)
    assert result.code == 2
    assert result.err == "error: 1 of 3 seeds failed; seed 2: error: it burns\n"
    assert "not finished: seed 2" in result.out
    assert "(n - 1) of 2 seeds" in result.out
    script.write_text("")
    done(*FIT, 1, 2, 3)
    assert [len(calls(seed)) for seed in (1, 2, 3)] == [1, 2, 1]


def test_what_is_refused_for_one_is_refused_for_all(script: Path) -> None:
    script.write_text('echo "error: --model.widht is not an option" >&2; exit 2')
    result = command(*FIT, 1, 2, 3)
    assert result.err == "error: --model.widht is not an option\n"
    assert not (FOLDER / "seed_2").exists()
    script.write_text("")
    done(*FIT, 1, "--model.width", 3)  # nothing was trained, so that the folder is free


def test_an_end_that_is_none_is_told(script: Path) -> None:
    script.write_text("exit 0")
    assert "seed 1: it ended before its last step" in command(*FIT, 1).err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_same_command_goes_on_with_what_is_not_finished(number: signal.Signals, script: Path) -> None:
    script.write_text(f"if test $seed = 2 && test ! -e go; then mkdir $run/checkpoints; {WORDS} $run/waiting; fi\n")
    words = ["-c", f"import sys; sys.executable = {sys.executable!r}; from s2s_lightning.__main__ import main; main()"]
    first = subprocess.Popen([REAL, *words, *map(str, FIT), "1", "2", "3"], stdout=subprocess.PIPE, text=True)
    while not (FOLDER / "seed_2/waiting").exists():
        time.sleep(0.02)
    first.send_signal(number)
    said = first.communicate(timeout=60)[0]
    if number == signal.SIGKILL:  # the training that it has left behind still has the lock
        assert "another process trains the seeds" in command(*FIT, 1, 2, 3).err
    else:
        assert first.returncode == 130
        assert "stopped; the same command goes on" in said
    while (FOLDER / "seed_2/output.log").read_text() != "saved\n":
        time.sleep(0.02)
    time.sleep(0.1)
    Path("go").touch()
    result = done(*FIT, 1, 2, 3)
    assert "seed 2  goes on" in result.out
    assert [len(calls(seed)) for seed in (1, 2, 3)] == [1, 2, 1]


@pytest.mark.usefixtures("script")
def test_another_configuration_is_refused_by_name() -> None:
    done(*FIT, 1)
    assert 'arguments was "--config tiny.yaml" and is' in command(*FIT, 1, "--model.d_model", 8).err
    Path("tiny.yaml").write_text("trainer: {max_steps: 5}\n")
    assert "files.tiny.yaml.trainer.max_steps was 4 and is 5" in command(*FIT, 1).err
    done(*FIT, 1, "--folder", "other")


def test_the_table_alone_trains_nothing(script: Path) -> None:
    assert "not finished: seed 1 2" in done(*FIT, 1, 2, "--table").out
    assert not FOLDER.joinpath("seed_1").exists()
    assert script.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "--seeds needs a number for each run, such as --seeds 1 2 3"),
        ((1, 2, 1), "--seeds has 1 twice; a seed is one run"),
        ((-1,), "--seeds=-1: a seed is from 0"),
        ((1, "--parallel", 0), "--parallel=0: it must be 1 or more"),
        ((1, "--seed_everything", 1), "--seed_everything does not go with --seeds: --seeds takes its place"),
        ((1, "--ckpt_path=x"), "--ckpt_path does not go with --seeds: the same command goes on"),
    ],
)
@pytest.mark.usefixtures("script")
def test_what_makes_no_sense_is_refused(words: tuple[object, ...], message: str) -> None:
    result = command(*FIT, *words)
    assert result.code == 2
    assert message in result.err


def test_options_of_sbatch_are_one_word_as_they_are_typed() -> None:
    for words in (["--slurm", "--time=1:00:00"], ["--slurm=--time=1:00:00"]):
        assert arguments().parse(["--seeds", "1", *joined(words)]).slurm == "--time=1:00:00"


def test_help_imports_nothing_heavy() -> None:
    assert not imported_by("fit", "--seeds", "--help") & {*LIGHT, "optuna", "yaml"}


SBATCH = """#!/bin/sh
cp $1 submitted
for task in $(seq $(sed -n 's/#SBATCH --array=1-\\([0-9]*\\)%2/\\1/p' $1)); do
    SLURM_ARRAY_TASK_ID=$task bash $1 || exit 1
done
echo "Submitted batch job 7"
"""


@pytest.mark.usefixtures("script")
def test_the_seeds_that_are_left_are_an_array_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    for name, content in (("sbatch", SBATCH), ("srun", '#!/bin/sh\nshift\nexec "$@"\n')):
        (tmp_path / "bin" / name).write_text(content)
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    done(*FIT, 5)
    result = done(*FIT, 5, 70, 9, "--parallel", 2, "--slurm", "--time=1:00:00")
    assert "Submitted batch job 7" in result.out
    lines = Path("submitted").read_text().splitlines()
    assert {"#SBATCH --array=1-2%2", "#SBATCH --time=1:00:00", "seeds=(70 9)"} <= {*lines}
    assert [len(calls(seed)) for seed in (5, 70, 9)] == [1, 1, 1]
    assert "not finished" not in done(*FIT, 5, 70, 9, "--table").out
    assert "all seeds are finished" in command(*FIT, 5, 70, 9, "--slurm", "").err


def test_items_with_different_numbers_of_references_keep_them(tmp_path: Path) -> None:
    """TER divides by the mean length of an item's references: to repeat one would change it."""
    answers = [["a b c d e f", "a b"], ["x y"]]
    rows = (json.dumps({"references": each}) + "\n" for each in answers)
    (tmp_path / "predictions.jsonl").write_text("".join(rows))
    (path,) = write_references(Seed(1, tmp_path), tmp_path)
    (tmp_path / "out.txt").write_text("a b c\nx z\n")
    scored = json.loads(done("compare", "--references", path, "--", tmp_path / "out.txt", "--metrics", "ter",
                             "--format", "json").out)  # fmt: skip
    assert round(TER()(["a b c", "x z"], answers)["ter"].value, 6) in numbers_in(scored)
    path.write_text('["a"]\n[]\n')
    refused = command("compare", "--references", path, "--", tmp_path / "out.txt")
    assert "line 2: it must be a list of the right answers" in refused.err


def numbers_in(value: object) -> set[float]:
    """All numbers of a JSON value."""
    if isinstance(value, dict | list):
        return {n for each in (value.values() if isinstance(value, dict) else value) for n in numbers_in(each)}
    return {round(value, 6)} if isinstance(value, float) else set()
