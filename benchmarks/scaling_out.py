"""What more nodes bring: the arithmetic of data parallelism, and what two ranks measure of it.

    python -m benchmarks.scaling_out > table.md                        # predicts
    torchrun --nproc_per_node 2 -m benchmarks.scaling_out --config configs/transformer.yaml    # measures, then predicts

Every rank has the whole network and a share of the batch; after the backward pass the gradients are summed over all
ranks. A ring sends 2 (N - 1) / N times the bytes of the gradients from each rank: once around to sum them in N parts,
once around to tell the sums. With P parameters of b bytes, a bandwidth B and a latency a of each of the 2 (N - 1) sends
of each of K buckets,

    reduce(N) = 2 (N - 1) / N * P b / B + 2 (N - 1) K a

A node that computes R target tokens a second needs C = G / R seconds for an effective batch of G tokens, and N nodes
C / N. While the backward pass lasts, two thirds of C / N, it hides the all-reduce, but for the last bucket, L of all:

    step(N) = C / N + max(L reduce(N), reduce(N) - 2/3 C / N)            C / N + reduce(N), if nothing is hidden
    efficiency(N) = C / (N step(N))

With V = 2 P b / B, what a long ring takes, and without latency, all follows from g = C / V = G / (R V): two nodes are
faster than one if g > 1 (hidden: 3/5), and the efficiency is a half at N = 1 + g (hidden: 1 + 5/3 g) nodes.

Ranks measure in turns, in one process each: the step of a rank's share without and with the all-reduce, the all-reduce
alone, and the first rank alone with the work of all of them. Times are minima.
"""

import argparse
import math
import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import torch
import torch.distributed as dist
import yaml
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from s2s_lightning import BOS
from s2s_lightning.checkpoints.checkpoint import instantiate
from s2s_lightning.model import Batch
from s2s_lightning.training.module import Seq2SeqModule

BYTES = 4
"""Of a gradient: those of float32 parameters are float32, whatever the precision of the products."""

FIRST_BUCKET, BUCKET = 2**20, 25 * 2**20
"""Bytes of DDP's buckets by default; the first, which is ready first, is small."""

BACKWARD = 2 / 3
"""Of a step's computing: for each product of the forward pass, two."""

GBITS = (1, 10, 25, 100)
RANKS = (1, 2, 4, 8, 16, 32, 64)
PAPERS = {
    "base": ("configs/papers/transformer_base_wmt14_ende.yaml", 37000),
    "big": ("configs/papers/transformer_big_wmt14_ende.yaml", 37000),
}


# The arithmetic


class Network(NamedTuple):
    """Bytes a second, and seconds from a send to its arrival."""

    bandwidth: float
    latency: float = 0.0


def reduce_bytes(parameters: int, ranks: int) -> float:
    """What each rank sends, and receives, in a step."""
    return 2 * (ranks - 1) / ranks * parameters * BYTES


def buckets(parameters: int) -> int:
    return 1 + math.ceil(max(0, parameters * BYTES - FIRST_BUCKET) / BUCKET)


def last_bucket(parameters: int) -> float:
    """Its share of all bytes, if those after the first are alike: nothing is left to hide it."""
    others = buckets(parameters) - 1
    return (1 - FIRST_BUCKET / (parameters * BYTES)) / others if others else 1.0


def reduce_seconds(parameters: int, ranks: int, network: Network) -> float:
    """Of all buckets, one after the other."""
    sends = 2 * (ranks - 1) * buckets(parameters)
    return reduce_bytes(parameters, ranks) / network.bandwidth + sends * network.latency


def step_seconds(parameters: int, ranks: int, network: Network, alone: float, hidden: bool = True) -> float:
    """Of a step that takes one node ``alone`` seconds, shared by so many."""
    share, reduce = alone / ranks, reduce_seconds(parameters, ranks, network)
    if ranks == 1 or not hidden:
        return share + reduce
    return share + max(reduce * last_bucket(parameters), reduce - BACKWARD * share)


def efficiency(parameters: int, ranks: int, network: Network, alone: float, hidden: bool = True) -> float:
    """Of each node, 1 for a node that works alone."""
    return alone / (ranks * step_seconds(parameters, ranks, network, alone, hidden))


def most_ranks(parameters: int, network: Network, alone: float, hidden: bool = True, least: float = 0.5) -> int:
    """The nodes up to which each is worth at least ``least`` of one that works alone."""
    ranks = 1
    while ranks < 4096 and efficiency(parameters, ranks + 1, network, alone, hidden) >= least:
        ranks += 1
    return ranks


# Measuring


class Loss(nn.Module):
    """What DDP wraps: the mean loss of a batch."""

    def __init__(self, module: Seq2SeqModule) -> None:
        super().__init__()
        self.model = module.model
        self.objective = module.objective

    def forward(self, batch: Batch) -> Tensor:
        result = self.objective(self.model, batch)
        return result.sum / batch.divisor


def network_of(config: str, vocab_size: int) -> Seq2SeqModule:
    torch.manual_seed(0)
    spec = yaml.safe_load(Path(config).read_text())["model"]
    joint = spec["init_args"].get("tie_embeddings") == "all"
    sizes = {"src_vocab_size": vocab_size, "tgt_vocab_size": None if joint else vocab_size}
    module: Seq2SeqModule = instantiate({**spec, "init_args": {**spec["init_args"], **sizes}}, Seq2SeqModule)
    return module


def batch_of(sentences: int, length: int, vocab_size: int) -> Batch:
    src, tgt = torch.randint(4, vocab_size, (2, sentences, length))
    tgt_in = torch.cat([torch.full((sentences, 1), BOS), tgt[:, :-1]], 1)
    divisor = torch.tensor(float(tgt.numel()))
    return Batch(src, torch.zeros_like(src, dtype=torch.bool), tgt_in, tgt, divisor, torch.arange(sentences))


class Measured(NamedTuple):
    """Seconds: of one rank with the work of all, of a share without and with its all-reduce, of that alone, and of the
    all-reduce of one number.
    """

    all_alone: float
    share: float
    step: float
    reduce: float
    latency: float


def measure(module: Seq2SeqModule, batch: Batch, rounds: int) -> Measured:
    """In turns; every rank gets the times of the slowest."""
    ddp = DistributedDataParallel(Loss(module).train())
    optimizer = torch.optim.AdamW(ddp.parameters(), fused=True)
    gradients = torch.zeros(sum(p.numel() for p in ddp.parameters())).split(BUCKET // BYTES)
    one, ranks = torch.zeros(1), dist.get_world_size()

    def step(batches: int, sync: bool) -> None:
        for _ in range(batches):
            with nullcontext() if sync else ddp.no_sync():
                ddp(batch).backward()
        optimizer.step()
        optimizer.zero_grad()

    def reduce() -> None:
        for work in [dist.all_reduce(bucket, async_op=True) for bucket in gradients]:
            work.wait()  # type: ignore[union-attr]

    def first_alone() -> None:
        if dist.get_rank() == 0:
            step(ranks, sync=False)

    kinds = [first_alone, lambda: step(1, False), lambda: step(1, True), reduce, lambda: dist.all_reduce(one)]
    for _ in range(2):  # after the first DDP orders its buckets anew, together
        step(1, sync=True)
    times = torch.tensor([[timed(kind) for kind in kinds] for _ in range(rounds)])
    return Measured(*times.amin(0).tolist())


def timed(do: Callable[[], object]) -> float:
    """Seconds until the last rank is done."""
    dist.barrier()
    start = time.perf_counter()
    do()
    seconds = torch.tensor(time.perf_counter() - start)
    dist.all_reduce(seconds, dist.ReduceOp.MAX)
    return seconds.item()


def fitted_network(parameters: int, ranks: int, measured: Measured) -> Network:
    """The bandwidth and latency at which ``reduce_seconds`` gives what was measured."""
    latency = measured.latency / (2 * (ranks - 1))
    sending = measured.reduce - 2 * (ranks - 1) * buckets(parameters) * latency
    return Network(reduce_bytes(parameters, ranks) / max(sending, 1e-9), latency)


# Telling


def told(parameters: int, tokens: int, ranks: int, measured: Measured) -> str:
    """What was measured, and what follows from it."""
    network = fitted_network(parameters, ranks, measured)
    exposed = measured.step - measured.share
    rows = [
        ("parameters", f"{parameters:,}"),
        ("bytes that a rank sends in a step", f"{reduce_bytes(parameters, ranks) / 1e6:.1f} MB"),
        ("all-reduce alone", f"{measured.reduce * 1e3:.1f} ms"),
        ("bandwidth, latency", f"{network.bandwidth * 8e-9:.2f} Gbit/s, {network.latency * 1e3:.2f} ms"),
        ("a share, no all-reduce", f"{measured.share * 1e3:.1f} ms"),
        ("a step", f"{measured.step * 1e3:.1f} ms"),
        ("of it, waiting for the all-reduce", f"{exposed * 1e3:.1f} ms"),
        ("tokens a second a rank", f"{tokens / measured.step:,.0f}"),
        ("one rank alone with all", f"{measured.all_alone * 1e3:.1f} ms, {ranks * tokens / measured.all_alone:,.0f}/s"),
        ("efficiency", f"{measured.all_alone / (ranks * measured.step):.0%}"),
        ("of it, for ranks that share a machine", f"{measured.all_alone / (ranks * measured.share):.0%}"),
        ("of it, for the network", f"{measured.share / measured.step:.0%}"),
        ("predicted, nothing hidden", f"{efficiency(parameters, ranks, network, ranks * measured.share, False):.0%}"),
        ("predicted, backward hides it", f"{efficiency(parameters, ranks, network, ranks * measured.share):.0%}"),
    ]
    return table([f"{ranks} ranks", ""], [list(row) for row in rows])


class Case(NamedTuple):
    """A network, the target tokens that a node computes in a second, and those of an effective batch."""

    name: str
    parameters: int
    speed: float
    tokens: int

    @property
    def alone(self) -> float:
        return self.tokens / self.speed


def limits(cases: list[Case], latency: float) -> str:
    """A table: up to how many nodes each is worth half of one that works alone, nothing hidden / backward hides."""
    body = []
    for case in cases:
        cells = []
        for gbit in GBITS:
            network = Network(gbit / 8 * 1e9, latency)
            most = [most_ranks(case.parameters, network, case.alone, hidden) for hidden in (False, True)]
            cells.append(f"{most[0]} / {most[1]}")
        sends = f"{2 * case.parameters * BYTES / 1e6:,.0f} MB"
        body.append([case.name, sends, f"{case.speed:,.0f}", f"{case.tokens:,}", *cells])
    return table(["network", "a node sends", "tokens/s", "batch", *(f"{gbit} Gbit/s" for gbit in GBITS)], body)


def speeds(case: Case, latency: float) -> str:
    """A table: tokens a second a node, and efficiency, where the backward pass hides what it can."""
    body = []
    for gbit in GBITS:
        network = Network(gbit / 8 * 1e9, latency)
        shares = [efficiency(case.parameters, ranks, network, case.alone) for ranks in RANKS]
        body.append([f"{gbit} Gbit/s", *(f"{share * case.speed / 1e3:,.1f}k ({share:.0%})" for share in shares)])
    return table([f"{case.name}, {case.tokens:,}", *(f"{ranks} node{'s' * (ranks > 1)}" for ranks in RANKS)], body)


def table(head: list[str], body: list[list[str]]) -> str:
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def papers(flops: float, batches: list[int]) -> list[Case]:
    """The published networks on nodes that sustain so many operations a second.

    A target token and as much source cost 6 operations for each parameter of a product (forward 2, backward 4); with
    all embeddings tied to the readout, as here, every parameter is one, but for biases and norms.
    """
    found = []
    for name, (config, vocab_size) in PAPERS.items():
        with torch.device("meta"):
            parameters = sum(p.numel() for p in network_of(config, vocab_size).parameters())
        found += [Case(name, parameters, flops / (6 * parameters), tokens) for tokens in batches]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/transformer.yaml", help="whose network is measured")
    parser.add_argument("--vocab_size", type=int, default=64)
    parser.add_argument("--sentences", type=int, default=64, help="of a rank's share")
    parser.add_argument("--length", type=int, default=8, help="of each sentence, in tokens")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--tflops", type=float, default=50.0, help="10^12 operations a second that a node sustains")
    parser.add_argument("--tokens", type=int, nargs="+", default=[25_000, 400_000], help="of an effective batch")
    parser.add_argument("--latency", type=float, default=2e-5, help="seconds of a send")
    options = parser.parse_args()
    cases = papers(options.tflops * 1e12, options.tokens)
    if "WORLD_SIZE" in os.environ:
        own = measured_here(options)
        if own is None:
            return
        cases = [*own, *cases]
    print(limits(cases, options.latency), speeds(cases[-1], options.latency), sep="\n\n")


def measured_here(options: argparse.Namespace) -> list[Case] | None:
    """Measure and tell; what the first rank knows of the network then, and nothing in the others."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    ranks, is_first = dist.get_world_size(), dist.get_rank() == 0
    module = network_of(options.config, options.vocab_size)
    batch = batch_of(options.sentences, options.length, options.vocab_size)
    measured = measure(module, batch, options.rounds)
    dist.destroy_process_group()
    if not is_first:
        return None
    parameters, tokens = sum(p.numel() for p in module.parameters()), batch.tgt_out.numel()
    print(told(parameters, tokens, ranks, measured), end="\n\n")
    name, speed = Path(options.config).stem, tokens / measured.share
    return [Case(name, parameters, speed, each) for each in (ranks * tokens, 16 * ranks * tokens)]


if __name__ == "__main__":
    main()
