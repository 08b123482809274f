"""Speed of recurrences whose matrix products do not wait for time, forward and backward, on one thread.

    python benchmarks/scan.py

All contestants take turns in one process; printed is the least time of each as a ratio to a baseline's: of ``scan`` to
the loop of autograd, of the families' layers to ``nn.GRU`` and ``nn.LSTM`` of equal width.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from s2s_lightning.families.indrnn import IndRNNLayer
from s2s_lightning.families.minrnn import MinGRULayer, MinLSTMLayer
from s2s_lightning.families.qrnn import QRNNLayer
from s2s_lightning.families.sru import SRULayer
from s2s_lightning.nn.scan import scan, scan_loop
from s2s_lightning.runs.malloc import reuse_freed_memory

WIDTH = 256
Contestants = dict[str, Callable[..., Tensor]]


def least_seconds(contestants: Contestants, turns: int, *inputs: Tensor) -> dict[str, float]:
    """Of a forward and backward pass of each, over some turns."""
    least = dict.fromkeys(contestants, float("inf"))
    for _ in range(turns):
        for name, function in contestants.items():
            start = time.perf_counter()
            function(*inputs).sum().backward()
            least[name] = min(least[name], time.perf_counter() - start)
    return least


def compare_scans(rows: int, length: int) -> None:
    shape = rows, length, WIDTH
    inputs = [torch.rand(shape).requires_grad_(), torch.randn(shape).requires_grad_(), torch.zeros(rows, WIDTH)]
    seconds = least_seconds({"scan": scan, "loop": scan_loop}, max(5, 4096 // length), *inputs)
    print(f"scan  B {rows:2}  T {length:4}  {seconds['scan'] / seconds['loop']:.2f} of the loop", flush=True)


def layers() -> Contestants:
    """From (B, T, D) to (B, T, D)."""
    gru, lstm = nn.GRU(WIDTH, WIDTH, batch_first=True), nn.LSTM(WIDTH, WIDTH, batch_first=True)
    qrnn = QRNNLayer(WIDTH, WIDTH, 2)
    elementwise = {
        "minGRU": MinGRULayer(WIDTH),
        "minLSTM": MinLSTMLayer(WIDTH),
        "SRU, first version": SRULayer(WIDTH, peephole=False),
        "SRU": SRULayer(WIDTH),
        "IndRNN": IndRNNLayer(WIDTH),
    }

    def pool(x: Tensor) -> Tensor:
        cells, gates, _ = qrnn(x, qrnn.start(x))
        return cells * gates

    contestants: Contestants = {"GRU": lambda x: gru(x)[0], "LSTM": lambda x: lstm(x)[0], "QRNN, k 2": pool}
    for name, layer in elementwise.items():
        contestants[name] = lambda x, layer=layer: layer(x, layer.zeros(x))[0]
    return contestants


def compare_layers(rows: int, length: int) -> None:
    seconds = least_seconds(layers(), 5, torch.randn(rows, length, WIDTH).requires_grad_())
    print(f"layers  B {rows}  T {length}  of nn.GRU  of nn.LSTM")
    for name, spent in seconds.items():
        print(f"  {name:18} {spent / seconds['GRU']:8.2f} {spent / seconds['LSTM']:8.2f}", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    reuse_freed_memory()
    for rows, length in ((64, 8), (64, 64), (64, 512), (8, 64), (8, 512), (1, 64), (1, 512), (1, 4096)):
        compare_scans(rows, length)
    for length in (20, 200):
        compare_layers(64, length)
