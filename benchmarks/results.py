"""Every family of ``configs/`` on the default data at one equal budget of CPU time: what it reaches, and how fast.

    python benchmarks/results.py --results results.jsonl > table.md

Each configuration trains as it stands for ``--seconds`` of process time on one thread, two of them side by side: the
steps of a second are measured first, and the run gets as many as fit, so that its schedule ends with it. What it has
learnt is then tested with greedy search. Time nothing else meanwhile.

Each result is a line of the results file, and a run whose line is there is not repeated: after an interruption the same
command goes on. A configuration that has changed is run anew.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from s2s_lightning.cli.fit import CLI
from s2s_lightning.model import Batch

LEAD, SAMPLE = 4.0, 16.0
"""CPU-seconds before the steps of a second are counted, and in which they are."""
DECODED = 2000
"""Words of the test split that are decoded against the clock."""
WITHOUT_SOURCE = ("lm",)
"""Configurations whose outputs are not compared with anything."""
QUIET = ["--trainer.accelerator=cpu", "--trainer.max_epochs=-1", "--trainer.check_val_every_n_epoch=100000"]
QUIET += ["--attention.num_items=1", "--samples.num_samples=1"]


class Clock(Callback):
    """Process time, steps and real target tokens of the training loop; ends it after ``seconds``, if given."""

    def __init__(self, lead: float = 0.0, seconds: float | None = None) -> None:
        self.lead = lead
        self.seconds = seconds
        self.tokens = self.steps = 0
        self.begin = self.end = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.begin = self.end = time.process_time()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        self.end = time.process_time()
        if self.lead and self.end - self.begin >= self.lead:
            self.lead, self.begin, self.steps, self.tokens = 0.0, self.end, 0, 0
            return
        self.steps += 1
        self.tokens += int(outputs["tokens"])
        trainer.should_stop = self.seconds is not None and not self.lead and self.spent >= self.seconds

    @property
    def spent(self) -> float:
        return self.end - self.begin


def fit(config: Path, root: str, clock: Clock, *options: str) -> CLI:
    """Train by the command line's own means, with a clock."""
    cli = CLI("fit", [f"--config={config}", f"--trainer.default_root_dir={root}", *QUIET, *options])
    cli.trainer.callbacks.append(clock)
    cli.start()
    return cli


def measured(config: Path, seconds: float) -> dict[str, Any]:
    """The result of one configuration, in this process."""
    import torch
    from s2s_lightning.inference.load import load

    from s2s_lightning.runs.malloc import reuse_freed_memory

    torch.set_num_threads(1)
    reuse_freed_memory()
    with TemporaryDirectory() as root:
        sample = Clock(LEAD, SAMPLE)
        fit(config, root, sample, "--trainer.limit_val_batches=0", "--trainer.max_steps=100000")
        steps, clock = int(seconds * sample.steps / sample.spent), Clock()
        cli = fit(config, root, clock, f"--trainer.max_steps={steps}")
        checkpoint = cli.config_init.checkpoint.last_model_path
        test = CLI("test", [f"--ckpt_path={checkpoint}", "--trainer.accelerator=cpu"])
        test.start()
        scores = json.loads((Path(str(test.trainer.default_root_dir)) / "test_scores.json").read_text())["scores"]
        words, trained = test.datamodule.sources("test", range(DECODED)), load(checkpoint, max_tokens=4096)
        start = time.process_time()
        trained.generate(words)
        decoding = time.process_time() - start
    return {
        "parameters": sum(p.numel() for p in cli.model.parameters()),
        "steps": steps,
        "cpu_seconds": clock.spent,
        "tokens_per_second": clock.tokens / clock.spent,
        "words_per_second": DECODED / decoding,
        "word_error": scores["sequence_error_rate"]["value"],
        "phoneme_error": scores["token_error_rate"]["value"],
        "test_loss": scores["loss"]["value"],
    }


def run(configs: list[Path], seconds: float, results: Path, jobs: int) -> Iterator[dict[str, Any]]:
    """The result of each configuration, from the file where it is there, else by a process of its own."""
    known = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    keys = {config: key_of(config, seconds) for config in configs}
    done = {c: next((line for line in known if key.items() <= line.items()), None) for c, key in keys.items()}
    yield from filter(None, done.values())
    with ThreadPoolExecutor(jobs) as pool:
        waiting = {pool.submit(in_process, c, seconds): c for c, line in done.items() if line is None}
        for number, future in enumerate(as_completed(waiting), len(configs) - len(waiting) + 1):
            config = waiting[future]
            if (found := future.result()) is None:
                print(f"{number}/{len(configs)} {config.stem} failed", file=sys.stderr, flush=True)
                continue
            result = keys[config] | found
            with results.open("a") as file:
                print(json.dumps(result), file=file)
            print(f"{number}/{len(configs)}", *row(result), file=sys.stderr, flush=True)
            yield result


def key_of(config: Path, seconds: float) -> dict[str, Any]:
    digest = hashlib.sha256(config.read_bytes()).hexdigest()[:12]
    return {"config": config.stem, "digest": digest, "seconds": seconds}


def in_process(config: Path, seconds: float) -> dict[str, Any] | None:
    """``measured`` in a process with one thread; None if it fails, whose output is shown then."""
    command = [sys.executable, __file__, "--only", str(config), "--seconds", str(seconds)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stdout[-2000:], done.stderr[-4000:], file=sys.stderr)
        return None
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def row(result: dict[str, Any]) -> list[str]:
    errors = [f"{result['word_error']:.1f}", f"{result['phoneme_error']:.2f}"]
    return [
        f"`{result['config']}`",
        f"{result['parameters'] / 1e6:.2f} M",
        f"{result['steps']:,}",
        f"{result['cpu_seconds']:.0f}",
        *(["-", "-"] if result["config"] in WITHOUT_SOURCE else errors),
        f"{result['test_loss']:.3f}",
        f"{result['tokens_per_second']:,.0f}",
        f"{result['words_per_second']:,.0f}",
    ]


def table(results: list[dict[str, Any]]) -> str:
    """As Markdown, the best first."""
    head = ["config", "parameters", "steps", "CPU-s", "word error, %", "phoneme error, %", "nats a phoneme"]
    head += ["tokens/s", "words/s decoded"]
    rows = [head, ["---"] + ["--:"] * 8, *(row(r) for r in sorted(results, key=lambda r: float(r["word_error"])))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", nargs="*", type=Path, help="files to run; default: all of configs/")
    parser.add_argument("--results", type=Path, default=Path("results.jsonl"), help="read and appended to")
    parser.add_argument("--seconds", type=float, default=360.0, help="CPU-seconds of training (default: 360)")
    parser.add_argument("--jobs", type=int, default=2, help="configurations side by side (default: 2)")
    parser.add_argument("--only", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    args = parse()
    if args.only:
        print(json.dumps(measured(args.only, args.seconds)))
        return
    configs = args.configs or sorted(Path("configs").glob("*.yaml"))
    print(table(list(run(configs, args.seconds, args.results, args.jobs))))


if __name__ == "__main__":
    main()
