"""The commands of docs/experiments/diagnostics.md run as they are typed, and leave what it says."""

from pathlib import Path

import pytest

from s2s_lightning.__main__ import main
from tests.helpers.documents import commands, type_in, workplace

DOCUMENT = "docs/experiments/diagnostics.md"
FAST = "--data.corpus Generated --data.tokenizer Characters --data.corpus.train_pairs 200 --data.corpus.val_pairs 20"
SMALL = f"{FAST} --model.d_model 8 --model.d_embedding 8 --trainer.log_every_n_steps 1"


@pytest.mark.parametrize(
    ("command", "left"),
    zip(commands(DOCUMENT), ["gradient_flow.png", "update_ratio.png", "metrics.csv"], strict=True),
    ids=["flow", "ratio", "skip"],
)
def test_a_command_of_the_document_runs(
    command: str, left: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = workplace(tmp_path, monkeypatch)
    type_in(f"{command} {SMALL}", monkeypatch)
    assert list(folder.glob(f"runs/rnn/latest/{left}"))


def test_a_run_that_diverges_ends_with_one_line_and_no_checkpoint_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = workplace(tmp_path, monkeypatch)
    wild = "--optimizer.lr 1e30 --trainer.gradient_clip_val null --trainer.max_steps 9"
    with pytest.raises(SystemExit) as ended:
        main(["fit", "--config", "configs/rnn.yaml", *SMALL.split(), *wild.split()])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
    assert line.startswith("error: loss or gradient not finite at step")
    assert not list(folder.glob("runs/rnn/*/checkpoints/*"))
    assert list(folder.glob("runs/rnn/*/non_finite_step_*.ckpt"))
