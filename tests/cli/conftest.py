"""A command line of tiny runs: the copy task, a Transformer of a few thousand parameters, a few steps."""

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from s2s_lightning.__main__ import main

DATA = """
data:
  corpus:
    class_path: Generated
    init_args: {task: copy, max_length: 4, symbols: 6, train_pairs: 120, val_pairs: 8, test_pairs: 8}
  max_tokens: 128
"""

CONFIG = f"""
model:
  class_path: Transformer
  init_args: {{d_model: 16, num_heads: 2, d_ff: 32, num_encoder_layers: 1, num_decoder_layers: 1}}
optimizer:
  class_path: AdamW
  init_args: {{lr: 3.0e-3}}
{DATA}
trainer: {{max_steps: 4, accelerator: cpu}}
attention: {{num_items: 0}}
"""


class Result(NamedTuple):
    """What a command left: exit code, and what it wrote."""

    code: int
    out: str
    err: str


def command(*args: object) -> Result:
    """Run a command in this process."""
    out, err, code = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(arg) for arg in args])
        except SystemExit as end:
            code = int(end.code or 0)
    out.flush()
    return Result(code, out.buffer.getvalue().decode(), err.getvalue())


def done(*args: object) -> Result:
    """Run a command that must succeed."""
    result = command(*args)
    assert result.code == 0, result.err
    return result


class Run(NamedTuple):
    """A folder of a run."""

    folder: Path

    @property
    def last(self) -> Path:
        return self.folder / "checkpoints" / "last.ckpt"

    @property
    def best(self) -> Path:
        return self.folder / "checkpoints" / "best.ckpt"


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The configuration file of the tiny run."""
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    path.write_text(CONFIG)
    return path


Fit = Callable[..., Run]


def fitted(root: Path, *args: object) -> Run:
    """Run ``fit`` and find its folder."""
    done("fit", *args, "--trainer.default_root_dir", root)
    (folder,) = root.glob("*/[0-9]*")
    return Run(folder)


@pytest.fixture(scope="session")
def trained(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of four steps."""
    return fitted(tmp_path_factory.mktemp("trained"), "--config", config)
