"""Numbers for each layer and head of a network's attention."""

import csv
from itertools import product
from pathlib import Path

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from s2s_lightning import EOS
from s2s_lightning.callbacks.attention.attention_maps import force_decode
from s2s_lightning.decoding.force_decode import Focus
from s2s_lightning.runs.trainer_queries import network


def check_focus(pl_module: LightningModule, focus: Focus, options: str) -> None:
    """Ask the network for the attention of the empty sentence; nothing is wrong where there is none.

    Raises:
        UserError: there is no such layer or head; ``options`` is how theirs begin.
    """
    if focus == Focus():
        return
    with torch.random.fork_rng(devices=[]):  # the run's random numbers stay what they were
        smallest = force_decode(network(pl_module), [EOS], [], True, device=pl_module.device)
    if smallest is not None:
        focus.check(smallest.weights, options)


def add_heads(path: Path, step: int, **columns: Tensor) -> None:
    """Add a line for each head to a table with these columns, (layers, heads) each."""
    is_new = not path.exists()
    shape = next(iter(columns.values())).shape
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        if is_new:
            writer.writerow(["step", "layer", "head", *columns])
        for place in product(*map(range, shape)):
            writer.writerow([step, *place, *(f"{float(values[place]):.6g}" for values in columns.values())])
