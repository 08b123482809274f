"""Runs that are stopped at a place of one's choice, and what two runs must have in common."""

import csv
import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from typing import IO, Any

import torch
from lightning.pytorch import Callback
from torch import Tensor

from s2s_lightning.__main__ import main

CONFIG = """
model:
  class_path: Transformer
  init_args: {d_model: 16, num_heads: 2, d_ff: 32, num_encoder_layers: 1, num_decoder_layers: 1, dropout: 0.3}
optimizer: {class_path: AdamW, init_args: {lr: 1.0e-2}}
schedule: {class_path: InverseSqrt, init_args: {warmup_steps: 3}}
data:
  corpus:
    class_path: Generated
    init_args: {task: copy, max_length: 6, symbols: 6, train_pairs: 200, val_pairs: 40, test_pairs: 1}
  max_tokens: 160
  eval_max_tokens: 80
trainer:
  accelerator: cpu
  enable_progress_bar: false
  log_every_n_steps: 2
  max_steps: 11
  accumulate_grad_batches: 2
  callbacks: [{class_path: EMA, init_args: {decay: 0.9}}]
drop_tokens: {src_word: 0.1}
attention: {num_items: 0}
"""

TIMES = {"train/tokens_per_second", "train/peak_memory_gib"}


class Stopped(BaseException):
    """As a kill, but that the process lives on."""


def stop() -> None:
    raise Stopped


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


class StopAt(Callback):
    """Stops the run in the n-th call of a hook, or in the middle of the n-th writing of a checkpoint ("writing").

    Args:
        hook: name of a hook of Lightning's.
        count: of calls.
        how: name of a function here.
    """

    def __init__(self, hook: str, count: int, how: str = "stop") -> None:
        self.count = count
        self.how = globals()[how]
        if hook == "writing":
            self.write, torch.save = torch.save, self._tear
        else:
            setattr(self, hook, self._called)

    def _called(self, *args: Any, **kwargs: Any) -> None:
        self.count -= 1
        if not self.count:
            self.how()

    def _tear(self, content: Any, file: IO[bytes], **options: Any) -> None:
        if not isinstance(content, dict):  # ranks that talk to each other save tensors so too
            self.write(content, file, **options)
            return
        buffer = io.BytesIO()
        self.write(content, buffer)
        whole = buffer.getvalue()
        file.write(whole[: len(whole) // 2])
        file.flush()
        self._called()
        file.write(whole[len(whole) // 2 :])


Stop = tuple[str, int, str]
"""Hook, call, how: the arguments of ``StopAt``."""


def typed(folder: Path, *args: object, at: Stop | None = None) -> list[str]:
    """The arguments that begin the run of a folder or go on with it."""
    config = folder.with_suffix(".yaml")
    config.write_text(CONFIG)
    arguments = ["fit", "--config", str(config), "--run", str(folder), *map(str, args)]
    if at is not None:
        arguments.append(f"--trainer.callbacks+={__name__}.StopAt")
        arguments += [
            f"--trainer.callbacks.{key}={value}" for key, value in zip(("hook", "count", "how"), at, strict=True)
        ]
    return arguments


def fit(folder: Path, *args: object, at: Stop | None = None) -> None:
    """Begin or go on with the run of a folder, in this process."""
    save = torch.save
    try:
        with suppress(Stopped, SystemExit):
            main(typed(folder, *args, at=at))
    finally:
        torch.save = save


def fit_apart(folder: Path, *args: object, at: Stop | None = None) -> int:
    """The same in a process of its own; its exit code."""
    program = [sys.executable, "-W", "ignore", "-m", "s2s_lightning", *typed(folder, *args, at=at)]
    return subprocess.run(program, capture_output=True, check=False, timeout=120).returncode


def result(folder: Path) -> dict[str, Any]:
    """All that a run comes to, but for the time that it took."""
    checkpoint = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    names = ("state_dict", "current_model_state", "optimizer_states", "lr_schedulers", "global_step", "callbacks")
    found = {name: checkpoint[name] for name in names if name in checkpoint}
    for callback in found["callbacks"].values():
        callback.pop("best_model_path", None)
    return {
        **found,
        "metrics": list(metrics(folder)),
        "files": sorted(p.name for p in (folder / "checkpoints").iterdir()),
    }


def metrics(folder: Path) -> Iterator[dict[str, str]]:
    """The rows of metrics.csv, without what is a matter of time."""
    with (folder / "metrics.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            yield {name: value for name, value in row.items() if value and name not in TIMES}


def differences(a: Any, b: Any, path: str = "") -> Iterator[str]:
    """Places where two nested values are not the same, tensors to the bit."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in a.keys() | b.keys():
            yield from differences(a.get(key), b.get(key), f"{path}.{key}")
    elif isinstance(a, list | tuple) and isinstance(b, list | tuple):
        for i, (x, y) in enumerate(zip_longest(a, b)):
            yield from differences(x, y, f"{path}[{i}]")
    elif isinstance(a, Tensor) and isinstance(b, Tensor):
        if not torch.equal(a, b):
            yield f"{path}: {(a - b).abs().max() if a.shape == b.shape else (a.shape, b.shape)}"
    elif a != b:
        yield f"{path}: {a!r} and {b!r}"
