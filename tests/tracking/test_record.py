"""A run's record: when, how and by which command, and the scores of its tests beside it."""

import json
import subprocess
from pathlib import Path

import pytest

from s2s_lightning.tracking.facts import command, repository
from s2s_lightning.tracking.tests_file import append_test, read_tests, run_of
from tests.cli.conftest import CONFIG, done
from tests.cli.conftest import command as typed


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("record")
    (root / "tiny.yaml").write_text(CONFIG)
    done("fit", "--config", root / "tiny.yaml", "--run", root / "run")
    done("test", root / "run", "--trainer.default_root_dir", root / "tests")
    return root / "run"


def test_the_record_says_when_and_how_a_run_ended(run: Path) -> None:
    record = json.loads((run / "run.json").read_text())
    assert record["end"]["how"] == "finished"
    assert record["end"]["step"] == 4
    assert record["start"] <= record["end"]["time"]
    assert {"command", "repository", "code", "hardware"} <= set(record)


def test_a_failed_start_is_recorded_with_its_reason(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (run.parent / "own_metric.py").write_text(
        "from s2s_lightning.callbacks import Progress\n"
        "class Failing(Progress):\n    def on_train_batch_end(self, *args):\n        raise RuntimeError('it burns')\n"
    )
    monkeypatch.syspath_prepend(str(run.parent))
    options = ("--run", run.parent / "failed", "--trainer.callbacks", "own_metric.Failing")
    with pytest.raises(RuntimeError):
        typed("fit", "--config", run.parent / "tiny.yaml", *options)
    record = json.loads((run.parent / "failed" / "run.json").read_text())
    assert record["end"]["how"] == "failed: RuntimeError: it burns"


def test_a_test_of_a_checkpoint_is_kept_beside_its_run(run: Path) -> None:
    (tested,) = read_tests(run)
    assert (tested["checkpoint"], tested["step"]) == ("best.ckpt", 4)
    assert "test/bleu" in tested["scores"]
    assert tested["signatures"]["bleu"].startswith("nrefs:1")


def test_a_link_in_the_place_of_the_scores_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "tests.jsonl").symlink_to(tmp_path / "elsewhere")
    assert run_of(tmp_path / "checkpoints" / "best.ckpt") == tmp_path
    append_test(tmp_path, {})
    assert not (tmp_path / "elsewhere").exists()


def test_the_command_is_kept_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["x/__main__.py", "fit", "--data.corpus.path", "https://me:hunter22@host/x"]
    monkeypatch.setattr("sys.argv", words)
    assert command().startswith("python -m s2s_lightning fit --data.corpus.path ")
    assert "hunter22" not in command()


def test_the_repository_of_the_user_is_described(tmp_path: Path) -> None:
    assert repository(tmp_path) is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@x"]
    (tmp_path / "own.py").write_text("")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *words], check=True)
    clean = repository(tmp_path)
    assert clean is not None
    assert not clean["dirty"]
    (tmp_path / "own.py").write_text("x = 1")
    assert repository(tmp_path) == {**clean, "dirty": True}
