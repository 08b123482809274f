"""Print a fingerprint of a short training of each shipped configuration, to prove that a refactoring changed nothing.

    python scripts/training_fingerprint.py > before.txt      # in the old checkout
    python scripts/training_fingerprint.py > after.txt       # in the new one, same machine, same threads
    diff before.txt after.txt

A line has the name of the file, and SHA-256 digests of the losses of 20 steps at seed 1, of the weights after them,
and of the greedy output for eight sources. It uses the command line and ``load`` alone, so that it runs in any version.
"""

import hashlib
import os
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

os.environ["WANDB_MODE"] = "disabled"
sys.path.insert(0, os.getcwd())

import s2s_lightning
from s2s_lightning.__main__ import main
from s2s_lightning.decoding import Greedy

SOURCES = ["house", "lightning", "sequence", "attention", "a", "translate", "encoder", "yes"]


def fingerprint(config: Path, folder: Path) -> str:
    """Return the line of a configuration, trained in a folder."""
    short = ["--trainer.max_steps", "20", "--trainer.max_epochs", "-1", "--trainer.log_every_n_steps", "1"]
    quiet = ["--trainer.accelerator", "cpu", "--trainer.limit_val_batches", "0", "--checkpoint.monitor", "train/loss"]
    arguments = ["fit", "--config", str(config), "--run", str(folder), "--seed_everything", "1", *short, *quiet]
    with (folder.parent / "log.txt").open("a") as log, redirect_stdout(log), redirect_stderr(log):
        if main(arguments):
            raise SystemExit(f"{config} failed; see {log.name}")
        model = s2s_lightning.load(folder / "checkpoints" / "last.ckpt")
        outputs = model.search([""] * 8 if config.stem == "lm" else SOURCES, Greedy())
    lines = (folder / "metrics.csv").read_text().splitlines()
    column = lines[0].split(",").index("train/loss")
    losses = [line.split(",")[column] for line in lines[1:]]
    weights = hashlib.sha256()
    for name, tensor in sorted(model.module.state_dict().items()):
        weights.update(name.encode() + tensor.contiguous().numpy().tobytes())
    return " ".join([config.stem, digest(losses), weights.hexdigest()[:16], digest([best[0].ids for best in outputs])])


def digest(value: object) -> str:
    """Return the first digits of the SHA-256 of a value as Python writes it."""
    return hashlib.sha256(repr(value).encode()).hexdigest()[:16]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        chosen = [Path(name) for name in sys.argv[1:]] or sorted(Path("configs").glob("*.yaml"))
        for path in chosen:
            print(fingerprint(path, Path(temporary) / path.stem), flush=True)
