"""What a training step and a decoding step cost as sequences grow: time and memory of every family, at equal sizes.

    python -m benchmarks.scaling --results scaling.jsonl --picture docs/measured/scaling.png > table.md

Each configuration of ``configs/`` is built with every width at most ``--width`` and trained for a step on one pair of
source and target of equal length; then a decoding step is taken where the target is as long. Lengths double until a
step needs more than ``--gigabytes`` or ``--seconds``. Times are minima of a few; the memory of training is the peak of
the process above what it had before, that of decoding the bytes which the decoder carries from step to step.

The exponent is the slope of log time over log length between the last three lengths, beside the one that the ``Card``
of the family states. Each measurement is a line of the results file, and is not repeated when the line is there.
"""

import argparse
import hashlib
import json
import math
import multiprocessing
import re
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml

from benchmarks.reduced import reduced
from s2s_lightning import BOS
from s2s_lightning.checkpoints.checkpoint import instantiate
from s2s_lightning.model import Batch, State, tree_map
from s2s_lightning.training.module import Seq2SeqModule
from scripts.document_families import family

VOCABULARY = 64
REPEATS = 3
KINDS = {
    "fixed vector": ("rnn", "lstm", "gru"),
    "recurrence with attention": ("bahdanau", "luong", "gnmt", "pointer", "hybrid"),
    "products outside of time": ("qrnn", "sru", "indrnn", "mingru", "minlstm"),
    "convolutions": ("convs2s", "lightconv", "dynamicconv"),
    "attention alone": ("transformer", "universal", "modern", "merged", "prefix_lm", "lm"),
    "linear attention, state spaces": ("mamba2", "retnet", "deltanet", "gated_deltanet", "xlstm"),
}
MEASURES = {
    "train_seconds": "training step, s",
    "train_bytes": "its memory, MiB",
    "decode_seconds": "decoding step, ms",
    "carry_bytes": "carried on, KiB",
}
UNITS = {"train_seconds": 1.0, "train_bytes": 2.0**20, "decode_seconds": 1e-3, "carry_bytes": 2.0**10}


class Setting(NamedTuple):
    """What all measurements share."""

    width: int
    gigabytes: float
    seconds: float
    longest: int


# Measuring, each in a process of its own


def measured(config: Path, length: int, width: int) -> dict[str, float]:
    """Seconds and bytes of a training and of a decoding step."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    spec = yaml.safe_load(config.read_text())["model"]
    vocabulary = {"src_vocab_size": VOCABULARY, "tgt_vocab_size": VOCABULARY}
    small = reduced(spec, width)
    module: Seq2SeqModule = instantiate({**small, "init_args": {**small["init_args"], **vocabulary}}, Seq2SeqModule)
    train_step(module, batch_of(16))
    batch, before = batch_of(length), resident_bytes()
    train = [train_step(module, batch) for _ in range(REPEATS if length <= 1024 else 1)]
    return {
        "train_seconds": min(train),
        "train_bytes": max(0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before),
        **decode_step(module.eval(), batch),
    }


def batch_of(length: int) -> Batch:
    src, tgt = torch.randint(4, VOCABULARY, (2, 1, length))
    tgt_in = torch.cat([torch.full((1, 1), BOS), tgt[:, :-1]], 1)
    return Batch(src, torch.zeros_like(src, dtype=torch.bool), tgt_in, tgt, torch.tensor(1.0), torch.arange(1))


def train_step(module: Seq2SeqModule, batch: Batch) -> float:
    """Seconds of forward and backward."""
    module.train().zero_grad()
    start = time.perf_counter()
    module.objective(module.model, batch).sum.backward()
    return time.perf_counter() - start


@torch.no_grad()
def decode_step(module: Seq2SeqModule, batch: Batch) -> dict[str, float]:
    """Seconds of the step after a target as long as the source, and the bytes of the carry that it is given."""
    state = module.model(batch.tgt_in, module.model.start(batch.src, batch.src_padding)).state
    times = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        module.model.step(batch.tgt_in[:, -1:], state)
        times.append(time.perf_counter() - start)
    return {"decode_seconds": min(times), "carry_bytes": bytes_of(state)}


def bytes_of(state: State) -> float:
    """What the carry holds."""
    total: list[int] = []
    tree_map(lambda x: total.append(x.numel() * x.element_size()) or x, state.carry)  # type: ignore[func-returns-value]
    return float(sum(total))


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def in_process(config: Path, length: int, setting: Setting) -> dict[str, Any]:
    """``measured`` in a forked process; what stopped it, where it was stopped."""
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(send, config, length, setting))
    process.start()
    answered = receive.poll(setting.seconds * (REPEATS + 2) + 60)
    result: dict[str, Any] = receive.recv() if answered else {"stopped": f"{setting.seconds:.0f} s"}
    process.kill()
    process.join()
    return result


def _child(send: Any, config: Path, length: int, setting: Setting) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (int(setting.gigabytes * 2**30),) * 2)
    try:
        result: dict[str, Any] = measured(config, length, setting.width)
        if result["train_seconds"] > setting.seconds:
            result = {"stopped": f"{setting.seconds:.0f} s"}
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            result = {"stopped": f"error: {error}"}
        else:
            result = {"stopped": f"{setting.gigabytes:g} GiB"}
    send.send(result)


def run(configs: list[Path], setting: Setting, results: Path) -> Iterator[dict[str, Any]]:
    """The lines of each configuration, shortest first, until one is stopped."""
    known = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    for config in configs:
        model = json.dumps(yaml.safe_load(config.read_text())["model"], sort_keys=True)
        length = 64
        while length <= setting.longest:
            key = {"config": config.stem, "digest": hashlib.sha256(model.encode()).hexdigest()[:12]}
            key |= {"length": length, "width": setting.width}
            line = next((line for line in known if key.items() <= line.items()), None)
            if line is None:
                line = key | in_process(config, length, setting)
                with results.open("a") as file:
                    print(json.dumps(line), file=file)
            print(config.stem, length, line.get("stopped", f"{line.get('train_seconds', 0):.3g} s"), file=sys.stderr)
            yield line
            if "stopped" in line:
                break
            length *= 2


# Theory


def theory(cost: str) -> float:
    """The exponent of the length in a cost of a Card, such as O(T^2 D + T D^2): T = S, all else constant."""
    (inner,) = re.findall(r"O\((.*)\)", cost.split(",")[0] if cost.count("O(") == 1 else cost)[:1] or [None]
    if inner is None:
        return math.nan
    product = re.sub(r"(?<=[\w)])\s+(?=[\w(])", "*", inner.replace("^", "**"))
    product = re.sub(r"\blog\*(\w+)", "1", product)
    low, high = (eval(product, {"__builtins__": {}}, Letters(n)) for n in (1e6, 1e12))
    return round(math.log(high / low) / math.log(1e6), 2)


class Letters(dict[str, float]):
    """T and S are the length, every other letter is 1."""

    def __init__(self, length: float) -> None:
        super().__init__(T=length, S=length)

    def __missing__(self, key: str) -> float:
        return 1.0


def exponent(lines: list[dict[str, Any]], measure: str) -> float:
    """The slope of log measure over log length between the last three lengths."""
    last = [line for line in lines if "stopped" not in line][-3:]
    if len(last) < 2 or min(line[measure] for line in last) <= 0:
        return math.nan
    x, y = (np.log([line[name] for line in last]) for name in ("length", measure))
    return float(np.polyfit(x, y, 1)[0])


# The table and the picture


def table(lines: list[dict[str, Any]]) -> str:
    """As Markdown: measured exponents beside those of theory, and where a family stopped."""
    head = ["config", "longest", "training step", "exponent", "theory", "its memory", "exponent"]
    head += ["decoding step", "exponent", "theory", "carried"]
    rows = [head, ["---"] + ["--:"] * (len(head) - 1)]
    for name in dict.fromkeys(line["config"] for line in lines):
        own = [line for line in lines if line["config"] == name]
        done = [line for line in own if "stopped" not in line]
        if not done:
            continue
        card, last = family(Path(f"configs/{name}.yaml")).card, done[-1]
        stopped = own[-1].get("stopped")
        rows.append(
            [
                f"`{name}`",
                f"{last['length']:,}" + (f" ({stopped})" if stopped else ""),
                f"{last['train_seconds']:.2f} s",
                known(exponent(own, "train_seconds")),
                known(theory(card["training"])),
                f"{last['train_bytes'] / 2**20:,.0f} MiB",
                known(exponent(own, "train_bytes")),
                f"{1e3 * last['decode_seconds']:.2f} ms",
                known(exponent(own, "decode_seconds")),
                known(theory(card["decoding"])),
                f"{last['carry_bytes'] / 2**10:,.1f} KiB",
            ]
        )
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def known(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"


def draw(lines: list[dict[str, Any]], path: Path) -> None:
    """A row a kind of family, a column a measure, both axes logarithmic; a cross where a family stopped."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = dict.fromkeys(line["config"] for line in lines)
    known = {name for group in KINDS.values() for name in group}
    kinds = {kind: [n for n in group if n in names] for kind, group in KINDS.items()}
    kinds["others"] = [name for name in names if name not in known]
    kinds = {kind: group for kind, group in kinds.items() if group}
    figure = Figure(figsize=(18, 3.4 * len(kinds)), dpi=80, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(kinds), len(MEASURES), sharex=True, sharey="col", squeeze=False)
    for axes, (kind, group) in zip(grid, kinds.items(), strict=True):
        for axis, (measure, title) in zip(axes, MEASURES.items(), strict=True):
            for name in group:
                curve(axis, [line for line in lines if line["config"] == name], measure)
            axis.set(xscale="log", yscale="log", title=f"{kind}: {title}")
            axis.set_xscale("log", base=2)
            axis.grid(alpha=0.3)
        axes[0].legend(fontsize=8)
    for axis in grid[-1]:
        axis.set_xlabel("length of source and target, tokens")
    figure.savefig(path)


def curve(axis: Any, lines: list[dict[str, Any]], measure: str) -> None:
    done = [line for line in lines if "stopped" not in line]
    if not done:
        return
    values = [
        max(line[measure], 1.0) / UNITS[measure] if "bytes" in measure else line[measure] / UNITS[measure]
        for line in done
    ]
    label = f"{lines[0]['config']}  {exponent(lines, measure):.2f}"
    (plotted,) = axis.plot([line["length"] for line in done], values, marker=".", label=label)
    if (stopped := lines[-1].get("stopped")) and "train" in measure:
        axis.plot(done[-1]["length"], values[-1], "x", color=plotted.get_color(), markersize=10)
        axis.annotate(f"{lines[0]['config']}: {stopped}", (done[-1]["length"], values[-1]), fontsize=7, ha="right")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", nargs="*", type=Path, help="files to measure; default: all of configs/")
    parser.add_argument("--results", type=Path, default=Path("scaling.jsonl"), help="read and appended to")
    parser.add_argument("--picture", type=Path, help="PNG to draw")
    parser.add_argument("--width", type=int, default=64, help="greatest width (default: 64)")
    parser.add_argument("--gigabytes", type=float, default=8.0, help="memory of a process, GiB (default: 8)")
    parser.add_argument("--seconds", type=float, default=60.0, help="of a training step (default: 60)")
    parser.add_argument("--longest", type=int, default=4096, help="tokens of source and of target (default: 4096)")
    return parser.parse_args()


def main() -> None:
    args = parse()
    setting = Setting(*(getattr(args, name) for name in Setting._fields))
    lines = list(run(args.configs or sorted(Path("configs").glob("*.yaml")), setting, args.results))
    if args.picture:
        draw(lines, args.picture)
    print(table(lines))


if __name__ == "__main__":
    main()
