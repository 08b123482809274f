"""How well batches are filled, how fast data are prepared and read, and whether memory grows with the corpus.

    python benchmarks/data.py --multi30k data/multi30k --tatoeba data/tatoeba-en-de/train.tsv.gz

Padding: multi30k, joint BPE of 10,000, max_tokens 4096. The naive baseline is as many batches of shuffled sentences,
padded to the longest.

Speed: pairs/s of training the tokenizer, of writing the ids, and of an epoch of batches in one process. The naive
baseline keeps ids as Python lists and pads them row by row, in the same batches.

Memory: the peak of anonymous memory (RssAnon of /proc/self/status, sampled each 2 ms) of fresh processes that prepare,
or iterate over, the corpus once and repeated tenfold; the difference by the pairs that were added.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from s2s_lightning import BOS, EOS, PAD
from s2s_lightning.data import BPE, Corpus, Pair, Seq2SeqData, Table, TextFiles
from s2s_lightning.data.bucket_sampler import Lengths, Plan
from s2s_lightning.data.ragged import Ragged

VOCABULARY = 10000
MAX_TOKENS = 4096
TIMES = 10


class Result(NamedTuple):
    """A line of the table; empty where there is no baseline or nothing is demanded."""

    name: str
    value: str
    naive: str = ""
    required: str = ""


class Repeated(Corpus):
    """The training pairs of a table, several times over."""

    def __init__(self, table: str, times: int) -> None:
        self.table = Table(table)
        self.times = times

    def has(self, split: str) -> bool:
        return split == "train"

    def read(self, split: str) -> Iterator[Pair]:
        for _ in repeat(None, self.times):
            yield from self.table.read("train")

    def fingerprint(self, split: str) -> str:
        return f"{self.times} x {self.table.fingerprint('train')}"


def data_of(corpus: Corpus, cache: str) -> Seq2SeqData:
    return Seq2SeqData(corpus, BPE(VOCABULARY), max_tokens=MAX_TOKENS, cache_dir=cache)


def padding(folder: Path, cache: str) -> list[Result]:
    corpus = TextFiles(str(folder / "train.de.gz"), str(folder / "train.en.gz"))
    loader = data_of(corpus, cache).train_dataloader()
    lengths, plan = loader.sampler.lengths, loader.sampler.plan(0)
    shuffled = fixed_size(lengths, len(plan))
    sides = {"target": lengths.tgt, "source": lengths.src}
    required = {"target": "<= 3 %, aim < 1 %", "source": ""}
    return [
        Result(f"padding, {side}", f"{plan.padding(x):.2%}", f"{shuffled.padding(x):.1%}", required[side])
        for side, x in sides.items()
    ]


def fixed_size(lengths: Lengths, batches: int) -> Plan:
    """Shuffled sentences in batches of one size."""
    count = len(lengths.src)
    order = np.random.default_rng(0).permutation(count)
    return Plan(order, np.linspace(0, count, batches + 1).astype(np.int64))


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def speed(table: Path, cache: str) -> list[Result]:
    data = data_of(Table(str(table)), cache)
    training = seconds(lambda: data.tokenizers)
    writing = seconds(data.prepare)
    again = seconds(data_of(Table(str(table)), cache).prepare)
    loader = data.train_dataloader()
    pairs = data.store("train").info.pairs
    lists = [as_lists(rows) for rows in (data.store("train").src, data.store("train").tgt)]
    reading = min(seconds(lambda: sum(1 for _ in loader)) for _ in range(3))
    naive = min(
        seconds(lambda: [slow_batch(*lists, item.indices.tolist()) for item in loader.sampler]) for _ in range(3)
    )
    return [
        Result("pairs", f"{pairs:,}"),
        Result("training the tokenizer, pairs/s", f"{pairs / training:,.0f}"),
        Result("writing the ids, pairs/s", f"{pairs / writing:,.0f}"),
        Result("preparing in all, pairs/s", f"{pairs / (training + writing):,.0f}"),
        Result("second start, seconds", f"{again:.2f}"),
        Result("an epoch of batches, pairs/s", f"{pairs / reading:,.0f}", f"{pairs / naive:,.0f}"),
    ]


def as_lists(rows: Ragged) -> list[list[int]]:
    return [part.tolist() for part in np.split(rows.values, rows.offsets[1:-1])]


def slow_batch(src: list[list[int]], tgt: list[list[int]], indices: list[int]) -> tuple[torch.Tensor, ...]:
    """What ``PairDataset`` does, with Python lists."""
    sides = ([[*src[i], EOS] for i in indices], [[BOS, *tgt[i]] for i in indices], [[*tgt[i], EOS] for i in indices])
    widths = [max(map(len, side)) for side in sides]
    padded = ([row + [PAD] * (width - len(row)) for row in side] for side, width in zip(sides, widths, strict=True))
    return tuple(torch.tensor(side) for side in padded)


def memory(table: Path, cache: str) -> list[Result]:
    results = []
    for work in WORK:
        once, often = (measured(work, table, cache, times) for times in (1, TIMES))
        growth = (often["peak"] - once["peak"]) / (often["pairs"] - once["pairs"])
        peaks = " -> ".join(f"{run['peak'] / 2**20:.0f}" for run in (once, often))
        results.append(Result(f"memory of {work}, once -> {TIMES} times, MiB", peaks))
        results.append(Result(f"its growth, bytes a pair ({often['pairs']:,} pairs)", f"{growth:.1f}", "", "<= 32"))
    return results


def measured(work: str, table: Path, cache: str, times: int) -> dict[str, int]:
    """Run ``measure`` in a fresh process."""
    command = [sys.executable, __file__, "--tatoeba", str(table), "--measure", work, "--cache", cache]
    done = subprocess.run([*command, "--times", str(times)], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def prepare(data: Seq2SeqData) -> None:
    data.prepare()


def iterate(data: Seq2SeqData) -> None:
    for _ in data.train_dataloader():
        pass


WORK = {"preparing": prepare, "iterating": iterate}


def measure(work: str, table: Path, cache: str, times: int) -> None:
    """Print the peak of anonymous memory while ``work`` is done, in bytes, and the pairs."""
    data = data_of(Repeated(str(table), times), cache)
    peak = Peak()
    WORK[work](data)
    print(json.dumps({"peak": peak.stop(), "pairs": data.store("train").info.pairs}))


class Peak(threading.Thread):
    """The highest anonymous memory of this process, sampled until stopped."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.highest = 0
        self.stopped = threading.Event()
        self.start()

    def run(self) -> None:
        while not self.stopped.wait(0.002):
            self.highest = max(self.highest, anonymous_memory())

    def stop(self) -> int:
        self.stopped.set()
        self.join()
        return self.highest


def anonymous_memory() -> int:
    """RssAnon in bytes."""
    status = Path("/proc/self/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon:"))


def print_table(results: list[Result]) -> None:
    rows = [Result("", "measured", "naive", "required"), *results]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |")
        if row is rows[0]:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--multi30k", type=Path, help="folder of train.de.gz and train.en.gz")
    parser.add_argument("--tatoeba", type=Path, help="TSV file of pairs, for speed and memory")
    parser.add_argument("--measure", choices=WORK, help=argparse.SUPPRESS)
    parser.add_argument("--times", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--cache", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure, options.tatoeba, options.cache, options.times)
        return
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as cache:
        if options.multi30k:
            results += padding(options.multi30k, cache)
        if options.tatoeba:
            results += [*speed(options.tatoeba, cache), *memory(options.tatoeba, cache)]
    print_table(results)


if __name__ == "__main__":
    main()
