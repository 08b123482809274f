"""Speed of training: the framework against the same Transformer in a plain loop, tuned in the same ways and left plain.

    python benchmarks/training.py --train_src train.de.gz --train_tgt train.en.gz

Three processes take turns on the machine; each trains for some seconds, then waits. What is compared is real target
tokens a second, turn by turn: padding counts for nothing, and what slows the machine down slows all.
"""

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from itertools import pairwise
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from plain_loop import MAX_TOKENS, Sizes, framework_module, plain, tuned

from s2s_lightning import EOS
from s2s_lightning.callbacks import Progress, Throughput
from s2s_lightning.data import Seq2SeqData
from s2s_lightning.data.corpora import TextFiles
from s2s_lightning.data.ragged import Ragged
from s2s_lightning.data.tokenizers import BPE
from s2s_lightning.model import Batch
from s2s_lightning.runs.malloc import reuse_freed_memory


class Setting(NamedTuple):
    """What all contestants share."""

    train_src: str
    train_tgt: str
    vocab_size: int
    threads: int
    folder: str  # for the logs of a run

    def data(self) -> Seq2SeqData:
        corpus = TextFiles(self.train_src, self.train_tgt)
        return Seq2SeqData(corpus, BPE(self.vocab_size), max_tokens=MAX_TOKENS)


class Turns:
    """Counts the tokens of a turn, reports their rate at its end, and waits for the next."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe
        self._wait()

    def _wait(self) -> None:
        self.seconds = self.pipe.recv()
        self.tokens = 0
        self.begin = time.perf_counter()

    def count(self, tokens: int) -> None:
        """A step with so many real target tokens is done."""
        self.tokens += tokens
        elapsed = time.perf_counter() - self.begin
        if elapsed >= self.seconds:
            self.pipe.send(self.tokens / elapsed)
            self._wait()


class TakeTurns(Callback):
    """The trainer's side of ``Turns``."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.turns = Turns(self.pipe)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        self.turns.count(int(batch.divisor))


def run_framework(setting: Setting, pipe: Connection) -> None:
    """As ``fit`` does it, with its logger and progress bar, without validation."""
    torch.set_num_threads(setting.threads)
    reuse_freed_memory()
    data = setting.data()
    sizes = Sizes(data.src_vocab_size)
    module = framework_module(sizes)
    module.optimizer = partial(torch.optim.AdamW, lr=sizes.lr, fused=True)
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        trainer = Trainer(
            max_epochs=-1,
            logger=CSVLogger(setting.folder),
            default_root_dir=setting.folder,
            callbacks=[Throughput(), Progress(), TakeTurns(pipe)],
            gradient_clip_val=sizes.max_norm,
            limit_val_batches=0,
            enable_checkpointing=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        trainer.fit(module, data)


def run_tuned(setting: Setting, pipe: Connection) -> None:
    """The plain loop with all the framework gains its speed by."""
    reuse_freed_memory()
    run_loop(tuned, setting, pipe)


def run_plain(setting: Setting, pipe: Connection) -> None:
    """The plain loop as it is."""
    run_loop(plain, setting, pipe)


def run_loop(loop: Callable[..., Any], setting: Setting, pipe: Connection) -> None:
    """Either loop, on the same token ids."""
    torch.set_num_threads(setting.threads)
    data = setting.data()
    pairs = list(zip(with_eos(data.store("train").src), with_eos(data.store("train").tgt), strict=True))
    steps = loop(pairs, Sizes(data.src_vocab_size))
    turns = Turns(pipe)
    for tokens in steps:
        turns.count(tokens)


def with_eos(rows: Ragged) -> list[torch.Tensor]:
    """Each row of ids as a tensor that ends in EOS."""
    return [torch.tensor([*rows.values[a:b].tolist(), EOS]) for a, b in pairwise(rows.offsets.tolist())]


CONTESTANTS = {"framework": run_framework, "tuned loop": run_tuned, "plain loop": run_plain}


def compete(setting: Setting, rounds: int, seconds: float) -> list[dict[str, float]]:
    """Tokens a second of each contestant in each round. A first round of 3 s warms up and is thrown away."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    for name, run in CONTESTANTS.items():
        pipes[name], theirs = context.Pipe()
        processes.append(context.Process(target=run, args=(setting, theirs), daemon=True))
        processes[-1].start()
        theirs.close()  # so that waiting for a process that died ends in an error
    results = []
    for turn in range(rounds + 1):
        rates = {}
        for name in list(pipes)[:: 1 if turn % 2 else -1]:
            pipes[name].send(seconds if turn else 3.0)
            rates[name] = pipes[name].recv()
        results.append(rates)
        if turn:
            print(f"{turn:5}", *(f"{rates[name]:12,.0f}" for name in CONTESTANTS), flush=True)
    for process in processes:
        process.kill()
    return results[1:]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train_src", required=True, help="source side of the training text, plain or compressed")
    parser.add_argument("--train_tgt", required=True, help="target side")
    parser.add_argument("--vocab_size", type=int, default=10_000, help="of the joint BPE")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contestant")
    parser.add_argument("--seconds", type=float, default=30.0, help="of a turn")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of torch, in each process")
    return parser.parse_args()


def main() -> None:
    args = parse()
    with tempfile.TemporaryDirectory() as folder:
        setting = Setting(args.train_src, args.train_tgt, args.vocab_size, args.threads, folder)
        setting.data().prepare()
        print("real target tokens a second\nround", *(f"{name:>12}" for name in CONTESTANTS), flush=True)
        results = compete(setting, args.rounds, args.seconds)
    for other in ("tuned loop", "plain loop"):
        ratios = sorted(rates["framework"] / rates[other] for rates in results)
        print(f"framework / {other}: {statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})")


if __name__ == "__main__":
    main()
