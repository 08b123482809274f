"""A training step of every family against straightforward public implementations of the same sizes, on one thread.

    OMP_NUM_THREADS=1 python -m benchmarks.references --results references.jsonl [config ...] > table.md

A step is forward, loss and backward, of the configuration as it is shipped but for the vocabulary and what a reference
cannot do (``catalogue``). Ours and the references take turns in one process; what counts is the least processor time of
some rounds, which a busy machine disturbs less than the clock. Each comparison is a line of the results file, and is
not repeated when the line is there.
"""

import argparse
import hashlib
import inspect
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from pydoc import locate
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from benchmarks.references.catalogue import REFERENCES, Entry
from benchmarks.references.networks import Reference, Sizes
from s2s_lightning import BOS, EOS, PAD
from s2s_lightning.checkpoints.checkpoint import instantiate
from s2s_lightning.model import Batch
from s2s_lightning.objectives import LabelSmoothedCrossEntropy
from s2s_lightning.runs.malloc import reuse_freed_memory
from s2s_lightning.training.module import Seq2SeqModule

VOCABULARY = 100
ROWS = {20: 64, 100: 16}
"""Sentences of a batch of each length, S = T: about as many tokens, as batches are filled in training."""
Line = dict[str, Any]


def model_spec(config: Path, entry: Entry) -> Line:
    """``{class_path, init_args}`` of our network."""
    spec: Line = yaml.safe_load(config.read_text())["model"]
    return {**spec, "init_args": {**spec["init_args"], **entry.settings}}


def new_module(spec: Line) -> Seq2SeqModule:
    vocabulary = {"src_vocab_size": VOCABULARY, "tgt_vocab_size": VOCABULARY}
    module: Seq2SeqModule = instantiate({**spec, "init_args": {**spec["init_args"], **vocabulary}}, Seq2SeqModule)
    module.objective = LabelSmoothedCrossEntropy(0.0)
    return module.train()


def new_reference(spec: Line, entry: Entry, length: int) -> Reference:
    return entry.build(Sizes(**settings(spec), vocab_size=VOCABULARY, length=length)).train()


def settings(spec: Line) -> Line:
    """All arguments, those by default included; parts with a class path as namespaces of theirs."""
    owner: Any = locate(spec["class_path"])
    parameters = inspect.signature(owner).parameters.values()
    default = {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}
    given = {
        name: Sizes(**value["init_args"]) if isinstance(value, dict) and "class_path" in value else value
        for name, value in spec["init_args"].items()
    }
    return default | given


def batch_of(length: int, rows: int, *, empty_source: bool = False) -> Batch:
    """Random sentences of at least three quarters of the length, or of an EOS alone as sources."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(4, VOCABULARY, (2, rows, length), generator=generator)
    lengths = torch.randint(length * 3 // 4, length + 1, (2, rows, 1), generator=generator)
    lengths[:, 0] = length
    src, tgt = ids.masked_fill(torch.arange(length) >= lengths, PAD)
    if empty_source:
        src = torch.full((rows, 1), EOS)
    tgt_in = torch.cat([torch.full((rows, 1), BOS), tgt[:, :-1]], 1)
    return Batch(src, src == PAD, tgt_in, tgt, torch.tensor(float((tgt != PAD).sum())), torch.arange(rows))


def in_turns(networks: list[tuple[nn.Module, Callable[[], Tensor]]], rounds: int) -> list[Line]:
    """Milliseconds of a step of each network, of the processor and of the clock; the first round is not counted."""
    times: list[list[tuple[float, float]]] = [[] for _ in networks]
    for _ in range(rounds + 1):
        for (network, loss), own in zip(networks, times, strict=True):
            network.zero_grad()
            process, clock = time.process_time(), time.perf_counter()
            loss().backward()
            own.append((1e3 * (time.process_time() - process), 1e3 * (time.perf_counter() - clock)))
    results = []
    for own in times:
        process_times, clock_times = zip(*own[1:], strict=True)
        results.append(
            {"process": min(process_times), "median": statistics.median(process_times), "clock": min(clock_times)}
        )
    return results


def compare(config: Path, entry: Entry, length: int, rounds: int) -> Line:
    """Ours and a reference."""
    torch.manual_seed(0)
    spec = model_spec(config, entry)
    module, reference = new_module(spec), new_reference(spec, entry, length)
    batch = batch_of(length, ROWS[length], empty_source=config.stem == "lm")
    ours, theirs = in_turns(
        [(module, lambda: module.objective(module.model, batch).sum), (reference, lambda: reference.loss(batch))],
        rounds,
    )
    return {"ours": ours, "theirs": theirs}


def run(configs: list[Path], rounds: int, results: Path) -> Iterator[Line]:
    """A line for each configuration, reference and length."""
    known = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    for config in configs:
        for entry in REFERENCES[config.stem]:
            model = json.dumps(model_spec(config, entry), sort_keys=True)
            for length in ROWS:
                key = {"config": config.stem, "reference": entry.name, "settings": entry.settings, "length": length}
                key["digest"] = hashlib.sha256(model.encode()).hexdigest()[:12]
                line = next((line for line in known if key.items() <= line.items()), None)
                if line is None:
                    line = key | compare(config, entry, length, rounds)
                    with results.open("a") as file:
                        print(json.dumps(line), file=file)
                print(config.stem, entry.name, length, f"{ratio(line, 'process'):.2f}", file=sys.stderr)
                yield line


def ratio(line: Line, measure: str) -> float:
    value: float = line["ours"][measure] / line["theirs"][measure]
    return value


def table(lines: list[Line]) -> str:
    """As Markdown: milliseconds of a step of ours, and ours / reference by each measure, at each length."""
    head = ["config", "reference", "ours with"]
    for length in ROWS:
        head += [f"B {ROWS[length]}, T {length}, ms", "**ratio**", "of medians", "of the clock"]
    rows = [head, ["---"] * 3 + ["--:"] * (len(head) - 3)]
    for name, reference in dict.fromkeys((line["config"], line["reference"]) for line in lines):
        own = [line for line in lines if (line["config"], line["reference"]) == (name, reference)]
        changed = ", ".join(f"{key}: {str(value).lower()}" for key, value in own[0]["settings"].items())
        row = [f"`{name}`", reference, changed]
        for line in own:
            row += [f"{line['ours']['process']:.0f}", f"**{ratio(line, 'process'):.2f}**"]
            row += [f"{ratio(line, measure):.2f}" for measure in ("median", "clock")]
        rows.append(row)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", nargs="*", default=list(REFERENCES), help="names; all by default")
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    reuse_freed_memory()
    torch.set_num_threads(1)
    configs = [Path(f"configs/{name}.yaml") for name in options.configs]
    print(table(list(run(configs, options.rounds, options.results))))


if __name__ == "__main__":
    main()
