"""What each architecture of ``configs/`` learns of copying, reversing and sorting in some minutes of one core.

    python benchmarks/toy_tasks.py --results toy_tasks.jsonl > table.md

Sources are 1 to a given number of tokens, and none is in two splits; an architecture that attends to the source gets
longer ones than one that has it as a fixed vector. Each trains with the model and the optimizer of its file, but at a
constant learning rate, and without dropout and label smoothing, since the data hardly repeat. What is judged is an
exponential average of its weights, which a constant learning rate needs. A run ends when enough of the validation pairs
come out exactly right, or its seconds are over. The table has the share of test pairs that greedy search then gets
exactly right.

Each result is a line of the results file, and a run whose line is there is not repeated: after an interruption the same
command goes on, and more ``--seconds`` run only what had not met its goal. A configuration that changed is run anew.
"""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import count, product
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, NamedTuple

import torch
import yaml
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from s2s_lightning import EOS, PAD
from s2s_lightning.checkpoints.checkpoint import instantiate
from s2s_lightning.data import Generated, Seq2SeqData
from s2s_lightning.model import Batch
from s2s_lightning.objectives import LabelSmoothedCrossEntropy
from s2s_lightning.runs.malloc import reuse_freed_memory
from s2s_lightning.training.module import Seq2SeqModule, decay_groups
from s2s_lightning.training.schedules import Constant

TASKS = ("copy", "reverse", "sort")
WITHOUT_SOURCE = ("lm",)
"""Configurations that have nothing to copy."""
WARMUP_STEPS = 100
MAX_NORM = 1.0
EMA_DECAY = 0.98

# Learning: what tests/test_toy_tasks.py does too


def learn(module: Seq2SeqModule, data: Seq2SeqData, over: Callable[[int], bool]) -> int:
    """Train until ``over`` says, asked after each step with the steps so far; returns these."""
    torch.manual_seed(data.seed)
    optimizer = module.optimizer(decay_groups(module.model))
    schedule = Constant(WARMUP_STEPS).build(optimizer, lambda: float("inf"))
    for step, batch in enumerate(endless(data), 1):
        optimizer.zero_grad()
        (module.train().objective(module.model, batch).sum / batch.divisor).backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), MAX_NORM)
        optimizer.step()
        schedule.step()
        if over(step):
            break
    return step


def endless(data: Seq2SeqData) -> Iterator[Batch]:
    """The training batches, epoch after epoch."""
    loader = data.train_dataloader()
    for epoch in count():
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        yield from loader


def exact_match(module: Seq2SeqModule, batches: Iterable[Batch]) -> float:
    """The share of pairs that the search gets exactly right."""
    module.eval()
    right = [
        best.tokens == [token for token in expected if token not in (EOS, PAD)]
        for batch in batches
        for (best, *_), expected in zip(module.generate(batch), batch.tgt_out.tolist(), strict=True)
    ]
    return sum(right) / len(right)


# The table


class Setting(NamedTuple):
    """What all runs share."""

    seconds: float
    goal: float
    length: int
    fixed_length: int
    symbols: int
    max_tokens: int
    check_every: int

    def with_length(self, length: int) -> dict[str, float]:
        """What a run depends on but for its end, the one ``length`` in place of two."""
        others = {name: value for name, value in self._asdict().items() if name not in ("seconds", "fixed_length")}
        return {**others, "length": length}

    def suffices(self, result: dict[str, Any]) -> bool:
        """Whether it met its goal, or had as many seconds to."""
        return bool(result["cpu_seconds"] < result["seconds"] or result["seconds"] >= self.seconds)


class Family:
    """A file of ``configs/``."""

    def __init__(self, config: Path) -> None:
        self.name = config.stem
        self.spec: dict[str, Any] = yaml.safe_load(config.read_text())
        settings = json.dumps([self.spec["model"], self.spec["optimizer"]], sort_keys=True)
        self.digest = hashlib.sha256(settings.encode()).hexdigest()[:12]

    def module(self, vocab_size: int) -> Seq2SeqModule:
        """Its network with new weights, and its optimizer."""
        torch.manual_seed(0)
        spec = self.spec["model"]
        arguments = {**spec["init_args"], "src_vocab_size": vocab_size}
        module: Seq2SeqModule = instantiate({**spec, "init_args": arguments}, Seq2SeqModule)
        for dropout in module.modules():
            if isinstance(dropout, nn.Dropout):
                dropout.p = 0.0
        optimizer = self.spec["optimizer"]
        module.optimizer = partial(resolve_name(optimizer["class_path"]), **optimizer["init_args"])
        module.objective = LabelSmoothedCrossEntropy(0.0)
        return module

    def attends(self) -> bool:
        """Whether its decoder looks at source positions."""
        module = self.module(vocab_size=8).eval()
        ids = torch.tensor([[EOS]])
        state = module.model.start(ids, ids == PAD)
        return module.model.step(ids, state, need_weights=True).attention is not None


def measured(family: Family, data: Seq2SeqData, setting: Setting) -> dict[str, float]:
    """One run: steps, CPU-seconds with those of validation, and exact match on the test pairs."""
    module, validation, test = family.module(data.src_vocab_size), list(data.val_dataloader()), data.test_dataloader()
    average = AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(EMA_DECAY))
    start = time.process_time()

    def over(step: int) -> bool:
        average.update_parameters(module)
        checked = step % setting.check_every == 0
        return checked and (
            time.process_time() - start > setting.seconds or exact_match(average.module, validation) >= setting.goal
        )

    steps = learn(module, data, over)
    right = exact_match(average.module, test)
    return {"steps": steps, "cpu_seconds": time.process_time() - start, "exact_match": right}


def data_of(task: str, length: int, setting: Setting) -> Seq2SeqData:
    corpus = Generated(
        task, max_length=length, symbols=setting.symbols, train_pairs=50_000, val_pairs=500, test_pairs=1000
    )
    return Seq2SeqData(corpus, max_tokens=setting.max_tokens, eval_max_tokens=8192)


def run(families: list[Family], setting: Setting, results: Path) -> Iterator[dict[str, Any]]:
    """The result of each family and task, from the file where it is there."""
    known = read(results)
    for number, (family, task) in enumerate(product(families, TASKS), 1):
        length = setting.length if family.attends() else setting.fixed_length
        key = {"family": family.name, "config": family.digest, "task": task} | setting.with_length(length)
        result = next((r for r in known if key.items() <= r.items() and setting.suffices(r)), None)
        if result is None:
            result = key | {"seconds": setting.seconds} | measured(family, data_of(task, length, setting), setting)
            with results.open("a") as file:
                print(json.dumps(result), file=file)
        print(f"{number}/{len(families) * len(TASKS)}", *row(result), file=sys.stderr, flush=True)
        yield result


def read(results: Path) -> list[dict[str, Any]]:
    """The lines of the results file."""
    return [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []


def row(result: dict[str, Any]) -> list[str]:
    match, seconds = f"{100 * result['exact_match']:.1f}", f"{result['cpu_seconds']:.0f}"
    return [result["family"], result["task"], f"1 to {result['length']}", f"{result['steps']:,}", match, seconds]


def table(results: Iterable[dict[str, Any]]) -> str:
    """As Markdown."""
    head = ["family", "task", "tokens", "steps", "exact match, %", "CPU-seconds"]
    rows = [head, ["---"] * 2 + ["---:"] * 4, *map(row, results)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", nargs="*", type=Path, help="files to run; default: all of configs/ but for lm")
    parser.add_argument("--results", type=Path, default=Path("toy_tasks.jsonl"), help="read and appended to")
    parser.add_argument("--seconds", type=float, default=300.0, help="of CPU, at most, for each run (default: 300)")
    parser.add_argument("--goal", type=float, default=0.998, help="share of val pairs that ends a run (0.998)")
    parser.add_argument("--length", type=int, default=8, help="longest source of those that attend (default: 8)")
    parser.add_argument("--fixed_length", type=int, default=4, help="longest source of fixed-vector ones (default: 4)")
    parser.add_argument("--symbols", type=int, default=10, help="different tokens (default: 10)")
    parser.add_argument("--max_tokens", type=int, default=512, help="of a training batch (default: 512)")
    parser.add_argument("--check_every", type=int, default=100, help="steps between validations (default: 100)")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: 1)")
    return parser.parse_args()


def main() -> None:
    args = parse()
    torch.set_num_threads(args.threads)
    reuse_freed_memory()
    shipped = (path for path in sorted(Path("configs").glob("*.yaml")) if path.stem not in WITHOUT_SOURCE)
    families = [Family(config) for config in args.configs or shipped]
    setting = Setting(*(getattr(args, name) for name in Setting._fields))
    print(table(run(families, setting, args.results)))


if __name__ == "__main__":
    main()
