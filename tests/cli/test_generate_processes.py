"""Several processes give what one gives, and end as one."""

import multiprocessing
from pathlib import Path

import pytest

from s2s_lightning.errors import UserError
from s2s_lightning.inference.generate.crew import Alone, Workers, workers
from s2s_lightning.inference.generate.requests import Request
from s2s_lightning.inference.generate.session import Session, Setup
from s2s_lightning.inference.generate.source_length import Cutter
from s2s_lightning.inference.generate.windows import Answered, answered_windows
from tests.cli.conftest import Run


def test_workers_answer_as_one_process_does_and_their_errors_are_said(trained: Run, tmp_path: Path) -> None:
    setup = Setup(str(trained.last), {"max_tokens": 16}, ["--decoding=Beam", "--decoding.n_best=2"])
    session = Session(setup)
    requests = [Request(" ".join(str(j % 6) for j in range(i % 9))) for i in range(20)]

    def windows(crew: Alone | Workers) -> list[list[Answered]]:
        cutter = Cutter(session.length, 5, "split")
        return list(answered_windows(requests, crew, cutter, session.plan, size=12, ahead=crew.ahead))

    with workers(setup, 2, threads=1) as crew:
        assert windows(crew) == windows(Alone(session))
        with pytest.raises(UserError, match="'nowhere' cannot be asked for"):
            crew.submit([Request("1", prefix="nowhere")])()
        assert len(multiprocessing.active_children()) == 2
        for child in multiprocessing.active_children():
            child.kill()
        with pytest.raises(UserError, match="a worker process has ended"):
            crew.submit(requests[1:])()
    assert not multiprocessing.active_children()
