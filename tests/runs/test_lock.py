"""Two processes never write one folder: the second waits, and is refused in one line."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from s2s_lightning.errors import UserError
from s2s_lightning.runs.lock import FILE, hold, release
from tests.cli.conftest import CONFIG, command, done


@contextmanager
def another_process(folder: Path) -> Iterator[int]:
    """Yields the number of a process that holds the folder until it is killed."""
    pid = os.fork()
    if not pid:
        hold(folder, 0)
        (folder / "held").touch()
        time.sleep(60)
        os._exit(0)
    try:
        while not (folder / "held").exists():
            time.sleep(0.01)
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_the_second_process_of_a_folder_is_refused_before_it_changes_anything(tmp_path: Path) -> None:
    folder, config = tmp_path / "run", tmp_path / "tiny.yaml"
    config.write_text(CONFIG)
    with another_process(folder) as pid:
        for args in (["--run", folder, "--config", config], ["--resume", folder]):
            refused = command("fit", *args, "--wait", "0.1")
            assert refused.code == 2
            assert len([line for line in refused.err.splitlines() if line.startswith("error")]) == 1
            assert f"process {pid} on {os.uname().nodename}" in refused.err
        assert sorted(path.name for path in folder.iterdir()) == [FILE, "held"]


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    with another_process(tmp_path / "run"):
        pass
    assert (tmp_path / "run" / FILE).exists()
    hold(tmp_path / "run", 0)
    release()
    assert not (tmp_path / "run" / FILE).exists()


def test_a_process_waits_for_one_that_ends(tmp_path: Path) -> None:
    with another_process(tmp_path / "run") as pid:
        if not (killer := os.fork()):
            time.sleep(0.3)
            os.kill(pid, signal.SIGKILL)
            os._exit(0)
        began = time.monotonic()
        try:
            hold(tmp_path / "run", 30)
            assert 0.1 < time.monotonic() - began < 15
        finally:
            release()
            os.waitpid(killer, 0)


def test_a_refused_command_leaves_no_folder_behind(tmp_path: Path) -> None:
    assert command("fit", "--run", tmp_path / "run", "--model", "Transformer", "--modle.x", "1").code == 2
    assert not (tmp_path / "run").exists()
    for seconds in ("-1", "soon", "nan"):
        assert "--wait" in command("fit", "--run", tmp_path / "run", "--wait", seconds).err


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be the folder of a run"):
        hold(tmp_path / "file" / "run", 0)


def test_a_leading_tilde_is_the_home_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the command line, in YAML, and for folders, checkpoints and files of a corpus."""
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    (home / "data").mkdir(parents=True)
    for side in ("src", "tgt"):
        (home / "data" / side).write_text("a b\nb c\n" * 4)
    files = {f"{split}_{side}": f"~/data/{side}" for split in ("train", "val") for side in ("src", "tgt")}
    config = home / "tiny.yaml"
    config.write_text(
        "model: {class_path: LSTM, init_args: {d_embedding: 4, d_model: 4, num_layers: 1}}\n"
        f"data: {{corpus: {{class_path: TextFiles, init_args: {files}}}, cache_dir: ~/cache}}\n"
        "trainer: {max_steps: 1, logger: false, accelerator: cpu, enable_progress_bar: false}\n"
    )
    monkeypatch.chdir(tmp_path)
    done("fit", "--config=~/tiny.yaml", "--run=~/run")
    done("fit", "--resume=~/run", "--trainer.max_steps", 2)
    done("fit", "--init_from=~/run/checkpoints/last.ckpt", "--config=~/tiny.yaml", "--trainer.default_root_dir=~/runs")
    done("generate", "~/run/checkpoints/last.ckpt", "~/data/src", "--output=~/out")
    made = {path.name for path in home.iterdir()}
    assert made >= {"cache", "out", "run", "runs"}
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
