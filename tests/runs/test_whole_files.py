"""A checkpoint is whole at any moment, and there is one before it."""

import resource
from pathlib import Path

import pytest
import torch

from s2s_lightning.callbacks import Evaluation
from s2s_lightning.callbacks.checkpointing.checkpoints import PREVIOUS, BestAndLast
from s2s_lightning.errors import UserError
from s2s_lightning.runs.whole_files import TEMPORARY, WholeFiles
from s2s_lightning.trust.signature import damage
from tests.helpers.toy import ToyData, ToyModule, toy_trainer


def held(path: Path) -> int:
    return int(torch.load(path, weights_only=True)["n"])


def test_the_one_before_stays(tmp_path: Path) -> None:
    files, last, best = WholeFiles(PREVIOUS), tmp_path / "last.ckpt", tmp_path / "best.ckpt"
    for n in range(3):
        files.save_checkpoint({"n": n}, last)
        files.save_checkpoint({"n": n}, best)
    assert {path.name for path in tmp_path.iterdir()} == {"last.ckpt", "previous.ckpt", "best.ckpt"}
    assert (held(last), held(tmp_path / "previous.ckpt"), held(best)) == (2, 1, 2)


def test_without_links_the_one_before_stays_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise OSError

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    files = WholeFiles(PREVIOUS)
    for n in range(2):
        files.save_checkpoint({"n": n}, tmp_path / "last.ckpt")
    assert (held(tmp_path / "last.ckpt"), held(tmp_path / "previous.ckpt")) == (1, 0)


def test_a_full_disk_is_one_line_and_leaves_what_was_there(tmp_path: Path) -> None:
    """A limit on the size of a file fails as a full disk does: in the middle of the writing."""
    files, last = WholeFiles(PREVIOUS), tmp_path / "run/checkpoints/last.ckpt"
    said = r"last\.ckpt cannot be written: File too large; the one before it is whole"
    files.save_checkpoint({"n": 0}, last)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, limits[1]))
    try:
        with pytest.raises(UserError, match=said):
            files.save_checkpoint({"n": 1, "weights": torch.zeros(2**16)}, last)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in last.parent.iterdir()] == ["last.ckpt"]
    assert held(last) == 0


def test_every_cut_and_every_changed_byte_of_the_content_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    torch.save({"n": torch.arange(50)}, path)
    whole = path.read_bytes()
    assert damage(path) is None
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        assert damage(path)
    start = whole.index(torch.arange(50).numpy().tobytes())
    for place in range(start, start + 400, 13):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert damage(path)


class Watched(BestAndLast):
    """Remembers the steps at which last.ckpt was written."""

    def save_last(self, trainer: object) -> None:
        super().save_last(trainer)  # type: ignore[arg-type]
        self.steps = [*getattr(self, "steps", []), trainer.global_step]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"every_minutes": None}, [10]),
        ({"every_minutes": None, "every_steps": 4}, [4, 8, 10]),
        ({"every_minutes": 1.0}, [3, 6, 9, 10]),  # each look at the clock is a third of a minute after the one before
    ],
)
def test_checkpoints_are_written_by_steps_and_by_time(
    options: dict[str, float], steps: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Watched(**options)  # type: ignore[arg-type]
    now = [0.0]

    def clock() -> float:
        now[0] += 20.0
        return now[0]

    monkeypatch.setattr("s2s_lightning.callbacks.checkpointing.checkpoints.time.monotonic", clock)
    callbacks = [Evaluation(), checkpoints]
    toy_trainer(tmp_path, enable_checkpointing=True, callbacks=callbacks).fit(ToyModule(), datamodule=ToyData())
    assert checkpoints.steps == steps
    assert not list(tmp_path.glob(f"**/*{TEMPORARY}"))
