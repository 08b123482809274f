"""A failure among several processes reaches the user once, whoever it befell."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from lightning.pytorch.strategies.launchers import subprocess_script
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from s2s_lightning.cluster import board, failures
from s2s_lightning.cluster.board import GONE, Board, Failure
from tests.cli.conftest import CONFIG, command

LOST = "gloo: Connection closed by peer"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board, "GRACE", 0.3)
    monkeypatch.setattr(failures, "START", 0.3)


@pytest.fixture
def boards() -> list[Board]:
    """Of three ranks, the first of which serves the store."""
    server = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    clients = [TCPStore("127.0.0.1", server.port, timeout=timedelta(seconds=5)) for _ in range(2)]
    return [Board(store, rank, 3) for rank, store in enumerate([server, *clients])]


def told(boards: list[Board], *words: str | None) -> list[Failure]:
    """What each rank makes of its own error; None is a rank that was killed."""
    with ThreadPoolExecutor() as pool:
        work = [
            pool.submit(board.first, Failure(text, 1 if text == LOST else 2, board.rank), text == LOST)
            for board, text in zip(boards, words, strict=True)
            if text
        ]
        return [future.result() for future in work]


def test_what_befalls_all_ranks_is_told_by_the_first(boards: list[Board]) -> None:
    assert told(boards, "no file", "no file", "no file") == [Failure("no file", 2, 0)] * 3


def test_what_befalls_one_rank_is_told_by_it_with_its_number(boards: list[Board]) -> None:
    assert told(boards, LOST, "no file", LOST) == [Failure("rank 1: no file", 2, 1)] * 3


def test_of_several_failures_one_is_told(boards: list[Board]) -> None:
    assert told(boards, LOST, "no file", "no memory") in ([Failure("rank 1: no file", 2, 1)] * 3,
                                                        [Failure("rank 2: no memory", 2, 2)] * 3)  # fmt: skip


def test_a_rank_that_was_killed_is_named_by_one_of_the_others(boards: list[Board]) -> None:
    assert told(boards, LOST, LOST, None) == [Failure(f"rank 2 {GONE}", 1, 0)] * 2


def test_when_the_first_rank_was_killed_the_second_says_so(boards: list[Board]) -> None:
    del boards[0].store
    found = told(boards, None, LOST, LOST)
    assert found == [Failure(f"rank 0 {GONE}", 1, 1)] * 2


@pytest.mark.parametrize(("rank", "prefix"), [("0", ""), ("1", "rank 1: ")])
def test_before_ranks_have_met_the_first_speaks_for_all(
    rank: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", "2")
    result = command("fit", "--config", "missing.yaml")
    assert (result.code, result.err) == (2, f"error: {prefix}there is no configuration file missing.yaml\n")
    assert bool(command("--help").out) == (rank == "0")


def test_lightning_has_the_watch_that_ours_replaces() -> None:
    assert callable(subprocess_script._launch_process_observer)  # type: ignore[attr-defined]


def test_a_refused_setting_is_told_once_and_not_again_after_a_restart(tmp_path: Path) -> None:
    """Both processes are started by torchrun, which starts them anew."""
    config = tmp_path / "tiny.yaml"
    config.write_text(CONFIG)
    agent = "-m s2s_lightning.cluster.torchrun --standalone --nproc-per-node 2 --max-restarts 1 -m -- s2s_lightning"
    wrong = "--checkpoint.monitor val/blue --trainer.max_steps 1 --trainer.logger false"
    typed = [*agent.split(), "fit", "--config", str(config), "--run", str(tmp_path / "run"), *wrong.split()]
    result = subprocess.run([sys.executable, *typed], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.count("val/blue") == 1
    assert "error: --checkpoint.monitor=val/blue is not logged: did you mean val/bleu?" in result.stderr
    assert "Traceback" not in result.stderr
