"""Metrics that something follows and nothing logs: one line, early, and nothing trained is lost."""

from pathlib import Path

import pytest
from lightning.pytorch.callbacks import TQDMProgressBar

from s2s_lightning.callbacks import DEFAULT_CALLBACKS, Progress
from s2s_lightning.python.trainers import beside
from tests.cli.conftest import command

EARLY = {
    "--checkpoint.monitor val/los": "--checkpoint.monitor=val/los is not logged: did you mean val/loss? Logged are",
    "--trainer.callbacks+=EarlyStopping --trainer.callbacks.monitor val_loss": "did you mean val/loss?",
    "--trainer.callbacks+=ModelCheckpoint --trainer.callbacks.monitor val/blue": "did you mean val/bleu?",
    "--schedule Plateau --schedule.monitor val/lss": "--schedule.monitor=val/lss is not logged",
    "--patience 2 --data.corpus.val_pairs 0": "needs a validation, and there is none",
    "--trainer.callbacks+=EarlyStopping --trainer.callbacks.monitor val/loss --trainer.limit_val_batches 0": "needs",
}

OWN = """
import torch
from s2s_lightning.callbacks import Progress
class Own(Progress):
    def on_validation_epoch_end(self, trainer, pl_module):
        pl_module.log("own", torch.tensor(1.0))
"""


@pytest.mark.parametrize(("options", "message"), EARLY.items(), ids=EARLY)
def test_a_metric_that_nothing_logs_is_refused_before_training(
    config: Path, tmp_path: Path, options: str, message: str
) -> None:
    result = command("fit", "--config", config, "--run", tmp_path / "run", *options.split())
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert message in result.err
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A callback of the user's, whose metrics nobody knows beforehand."""
    (tmp_path / "own_callback.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "own_callback.Own"


def test_where_a_user_logs_too_the_first_validation_tells_and_its_step_is_saved(
    config: Path, tmp_path: Path, own: str
) -> None:
    typed = ("fit", "--config", config, "--run", tmp_path / "run", "--trainer.callbacks", own)
    result = command(*typed, "--checkpoint.monitor", "owm")
    assert result.code == 2
    assert "did you mean own?" in result.err
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file()
    assert command(*typed, "--checkpoint.monitor", "own").code == 0


def test_a_progress_bar_of_the_user_replaces_ours() -> None:
    defaults = [kind() for kind in DEFAULT_CALLBACKS.values()]
    for own in (TQDMProgressBar(), type("Mine", (Progress,), {})()):
        kept = beside([own], defaults, progress=True)
        assert len(kept) == len(defaults) - 1
        assert not any(isinstance(each, Progress) for each in kept)
    assert any(isinstance(each, Progress) for each in beside([], defaults, progress=True))
