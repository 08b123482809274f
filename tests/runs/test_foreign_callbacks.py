"""Callbacks of Lightning's that cannot do their work are refused before a folder is made."""

from pathlib import Path

import pytest

from tests.cli.conftest import CONFIG, command


@pytest.mark.parametrize(
    ("callback", "said"),
    [
        (["LearningRateFinder"], "take FindLearningRate"),
        (["BatchSizeFinder"], "take FindBatchSize"),
        (
            ["StochasticWeightAveraging", "--trainer.callbacks.swa_lrs=0.1"],
            "--trainer.callbacks.device=null, or take EMA",
        ),
    ],
)
def test_a_callback_that_cannot_work_here_is_refused_with_what_does(
    callback: list[str], said: str, tmp_path: Path
) -> None:
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    where = ["--config", tmp_path / "tiny.yaml", "--run", tmp_path / "run"]
    refused = command("fit", *where, f"--trainer.callbacks+={callback[0]}", *callback[1:])
    assert refused.code == 2
    assert said in refused.err
    assert not (tmp_path / "run").exists()
