"""The commands of docs/search/decoding.md run as they are typed, on tiny models."""

import shlex
import shutil
from pathlib import Path

import pytest

from s2s_lightning.__main__ import main
from tests.helpers.documents import commands, workplace

DOCUMENT = "docs/search/decoding.md"
TINY = """
data: {corpus: {class_path: Generated, init_args: {task: copy, train_pairs: 50, val_pairs: 4, test_pairs: 4}}}
model: {init_args: {num_encoder_layers: 1, num_decoder_layers: 1, d_model: 16}}
decoding: {class_path: Greedy, init_args: {max_length: 5}}
trainer: {max_steps: 2, limit_train_batches: 1, accelerator: cpu}
"""
TINY_TEXTS = """
data:
  corpus:
    class_path: TargetSide
    init_args: {corpus: {class_path: Generated, init_args: {task: copy, train_pairs: 50, val_pairs: 4, test_pairs: 4}}}
model: {init_args: {num_layers: 1, d_model: 16}}
trainer: {max_steps: 2, limit_train_batches: 1, accelerator: cpu}
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a Transformer that knows nothing."""
    root = tmp_path_factory.mktemp("run")
    (root / "tiny.yaml").write_text(TINY)
    configs = ["--config", "configs/transformer.yaml", "--config", str(root / "tiny.yaml")]
    main(["fit", *configs, "--trainer.default_root_dir", str(root)])
    (path,) = root.glob("*/latest/checkpoints/last.ckpt")
    return path


@pytest.mark.parametrize("command", commands(DOCUMENT))
def test_a_command_of_the_document_runs(
    command: str, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workplace(tmp_path, monkeypatch)
    (tmp_path / "tiny.yaml").write_text(TINY_TEXTS)
    for name in ("best.ckpt", "other.ckpt"):
        shutil.copy(checkpoint, tmp_path / name)
    words = shlex.split(command)[3:]
    root = tmp_path / "runs"
    before = set(root.glob("*/*"))
    main([*words, *(["--config", "tiny.yaml"] if words[0] == "fit" else [])])
    assert set(root.glob("*/*")) > before
