"""Kills one training with SIGKILL at random moments, lets it go on each time, and compares its end with one left alone.

    python benchmarks/kill_and_resume.py --kills 20

The training is small (the copy task, a Transformer with dropout and LayerDrop, an average of the weights, a window of
three micro-batches), but is started by the command line as any other, in a process of its own, with no data worker and
two of them in turns. A moment is a random time after its first step of that start, so that some fall into a window of
accumulation, some into the writing of a checkpoint, some into a validation. ``--ranks 2`` trains on two processes.

The table says where each kill has struck and from which step the training went on; the last line, whether weights,
average, optimizer, schedule and all logged losses are the same to the bit. The exit code is 1 if they are not.
"""

import argparse
import csv
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from tqdm.auto import tqdm

CONFIG = """
model:
  class_path: Transformer
  init_args: {d_model: 32, num_heads: 2, d_ff: 64, num_encoder_layers: 2, num_decoder_layers: 2, layer_drop: 0.1}
optimizer: {class_path: AdamW, init_args: {lr: 3.0e-3}}
schedule: {class_path: InverseSqrt, init_args: {warmup_steps: 30}}
data:
  corpus:
    class_path: Generated
    init_args: {task: copy, max_length: 12, symbols: 10, train_pairs: 3000, val_pairs: 300, test_pairs: 1}
  max_tokens: 512
trainer:
  accelerator: cpu
  log_every_n_steps: 5
  accumulate_grad_batches: 3
  val_check_interval: 20
  enable_progress_bar: false
  callbacks: [EMA, {class_path: benchmarks.kill_and_resume.Trace}]
drop_tokens: {src_word: 0.05}
checkpoint: {every_steps: 2, keep_last: 2}
attention: {num_items: 0}
"""

KEPT = ("state_dict", "current_model_state", "averaging_state", "optimizer_states", "lr_schedulers", "global_step")
OF_TIME = ("train/tokens_per_second", "train/peak_memory_gib")
TRACE = "KILL_AND_RESUME_TRACE"


class Trace(Callback):
    """Leaves in a file where the training is."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if path := os.environ.get(TRACE):
            self._file = os.open(f"{path}.{trainer.global_rank}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            self._write, torch.save = torch.save, self._save

    def say(self, what: str) -> None:
        if hasattr(self, "_file"):
            os.pwrite(self._file, what.ljust(60).encode(), 0)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        window = batch_idx % trainer.accumulate_grad_batches + 1
        self.say(f"step {trainer.global_step + 1}, micro-batch {window} of {trainer.accumulate_grad_batches}")

    def on_validation_batch_start(self, trainer: Trainer, *args: Any) -> None:
        self.say(f"step {trainer.global_step}, validation")

    def _save(self, content: Any, file: Any, **options: Any) -> None:
        if isinstance(content, dict) and "global_step" in content:  # ranks that talk to each other save tensors so too
            self.say(f"step {content['global_step']}, writing {Path(file.name).name}")
        self._write(content, file, **options)


class Kill(NamedTuple):
    """Where a start ended, and from where it had gone on."""

    seconds: float
    workers: int
    went_on_from: str
    struck: str


def command(folder: Path, args: argparse.Namespace, workers: int) -> list[str]:
    """That begins the training and goes on with it."""
    ranks = ["--trainer.devices", str(args.ranks), *(["--trainer.strategy", "ddp"] if args.ranks > 1 else [])]
    options = ["--run", str(folder), "--data.num_workers", str(workers), "--trainer.max_steps", str(args.steps), *ranks]
    return [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "s2s_lightning",
        "fit",
        "--config",
        str(folder.parent / "kill.yaml"),
        *options,
    ]


def environment(trace: Path | None) -> dict[str, str]:
    own = {"OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled", **({TRACE: str(trace)} if trace else {})}
    return {**os.environ, **own, "PYTHONPATH": os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])}


def kill_once(folder: Path, args: argparse.Namespace, workers: int, delay: float) -> Kill | None:
    """One start; None if it came to its end before."""
    trace, log = folder.parent / "trace", folder.parent / "log"
    for path in folder.parent.glob("trace.*"):
        path.unlink()
    with log.open("w") as out:
        process = subprocess.Popen(
            command(folder, args, workers),
            stdout=out,
            stderr=subprocess.STDOUT,
            env=environment(trace),
            start_new_session=True,
        )
    first = Path(f"{trace}.0")
    while process.poll() is None and not (first.exists() and first.stat().st_size):
        time.sleep(0.01)
    time.sleep(delay)
    struck = first.read_text().strip() if first.exists() else ""
    if process.poll() is not None:
        if process.returncode:
            raise SystemExit(log.read_text())
        return None
    os.killpg(process.pid, signal.SIGKILL)
    if process.wait() != -signal.SIGKILL:
        raise SystemExit(log.read_text())
    found = re.search(r"going on from step (\d+) of \S*?([^/\s]+\.ckpt)", log.read_text())
    return Kill(delay, workers, f"{found[1]} ({found[2]})" if found else "the beginning", struck)


def left_alone(folder: Path, args: argparse.Namespace) -> float:
    """Trains to the end; seconds."""
    start = time.monotonic()
    done = subprocess.run(command(folder, args, 0), env=environment(None), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return time.monotonic() - start


def differences(a: Any, b: Any, path: str) -> Iterator[str]:
    """Places where two checkpoints or logs are not the same."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in a.keys() | b.keys():
            yield from differences(a.get(key), b.get(key), f"{path}.{key}")
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for i, pair in enumerate(zip(a, b, strict=True)):
            yield from differences(*pair, f"{path}[{i}]")
    elif not (torch.equal(a, b) if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) else a == b):
        yield path


def result(folder: Path) -> dict[str, Any]:
    checkpoint = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    with (folder / "metrics.csv").open(newline="") as file:
        rows = [{name: value for name, value in row.items() if name not in OF_TIME} for row in csv.DictReader(file)]
    return {**{name: checkpoint[name] for name in KEPT}, "metrics": rows}


def table(kills: list[Kill]) -> str:
    head = ["| kill | seconds of training | workers | went on from step | struck at |", "|--:|--:|--:|---|---|"]
    rows = [f"| {n} | {k.seconds:.2f} | {k.workers} | {k.went_on_from} | {k.struck} |" for n, k in enumerate(kills, 1)]
    return "\n".join([*head, *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=200, help="optimizer steps of the training")
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--longest", type=float, default=1.5, help="seconds of training before a kill, at most")
    parser.add_argument("--seed", type=int, default=1, help="of the moments")
    args = parser.parse_args()
    moments = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as root:
        folder, alone = Path(root) / "killed", Path(root) / "alone"
        (Path(root) / "kill.yaml").write_text(CONFIG)
        left_alone(alone, args)
        kills: list[Kill] = []
        for turn in tqdm(range(args.kills), desc="kills"):
            kill = kill_once(folder, args, workers=2 * (turn % 2), delay=moments.uniform(0, args.longest))
            if kill is None:
                break
            kills.append(kill)
        left_alone(folder, args)
        found = list(differences(result(alone), result(folder), ""))
    print(table(kills))
    print(
        f"{len(kills)} kills: " + (f"{len(found)} differences: {', '.join(found[:5])}" if found else "equal to the bit")
    )
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
