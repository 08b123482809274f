"""Ratio of an update to the weights that it moves."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from s2s_lightning.callbacks.reports.media import log_picture
from s2s_lightning.callbacks.reports.summary import parts_of
from s2s_lightning.callbacks.reports.throughput import is_due
from s2s_lightning.model import Batch
from s2s_lightning.runs.trainer_queries import network, run_folder, whole

HEALTHY = 1e-3


class Before(NamedTuple):
    """The matrices of a part and what was in them before a step."""

    weights: Sequence[Tensor]
    copies: Sequence[Tensor]


class UpdateRatio(Callback):
    """Logs |update| / |weights| of each part of the network at each ``log_every_n_steps``.

    ``update_ratio/embeddings``, ``/encoder``, ``/decoder`` and ``/readout``: the Euclidean norms of what the optimizer
    step changed and of what was there before, over the matrices of a part that are trained. Vectors are left out:
    biases begin at 0. A matrix that parts share counts in the first of them. About 1e-3 is a rough rule for a good
    learning rate; much more is too high, much less too low (Stanford's CS231n, "Ratio of weights:updates",
    https://cs231n.github.io/neural-networks-3/). Clipping, momentum and weight decay are in it, as it is the change
    itself; a skipped step has 0. ``update_ratio.png`` is drawn anew at each validation and at the end,
    ``update_ratio.csv`` has the numbers. It costs a copy of the weights and some norms at these steps, and nothing at
    others.
    """

    growing_files = ("update_ratio.csv",)

    def __init__(self) -> None:
        self._before: dict[str, Before] = {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._parts = {
            part: [p for p in parameters if p.requires_grad and p.ndim >= 2]
            for part, parameters in parts_of(network(pl_module)).items()
        }

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        if self._before or not is_due(trainer, trainer.global_step + 1):  # an optimizer may ask for gradients again
            return
        self._before = {
            part: Before(weights, [weight.detach().clone() for weight in weights])
            for part, weights in self._parts.items()
            if weights
        }

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        if not self._before:
            return
        ratios = torch.stack([ratio(before) for before in self._before.values()]).tolist()  # the one synchronisation
        parts, self._before = list(self._before), {}
        values = {part: value for part, value in zip(parts, ratios, strict=True) if value == value}
        logged = {f"update_ratio/{part}": torch.tensor(value) for part, value in values.items()}
        pl_module.log_dict(logged, on_step=True, on_epoch=False)
        if values and trainer.is_global_zero:
            append(run_folder(trainer) / "update_ratio.csv", trainer.global_step, values)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._draw(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._draw(trainer)

    def _draw(self, trainer: Trainer) -> None:
        numbers = run_folder(trainer) / "update_ratio.csv"
        if trainer.is_global_zero and numbers.exists():
            draw(numbers, numbers.with_suffix(".png"))
            log_picture(trainer, "update_ratio", numbers.with_suffix(".png"))


@torch.no_grad()
def ratio(before: Before) -> Tensor:
    """() of all matrices of a part together; NaN where they were all 0."""
    update = whole(torch.nn.utils.get_total_norm([new - old for new, old in zip(*before, strict=True)]))
    weights = whole(torch.nn.utils.get_total_norm(before.copies))
    return torch.where(weights > 0, update / weights, torch.nan).float()


def append(path: Path, step: int, ratios: dict[str, float]) -> None:
    """Add lines to the CSV file."""
    new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(["step", "part", "ratio"])
        writer.writerows([step, part, value] for part, value in ratios.items())


def draw(numbers: Path, path: Path) -> None:
    """A line for each part over the steps."""
    from s2s_lightning.plotting.lines import Chart, Line, save

    points: dict[str, dict[int, float]] = {}
    with numbers.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            points.setdefault(row["part"], {})[int(row["step"])] = float(row["ratio"])
    lines = [Line(part, list(of_part), list(of_part.values())) for part, of_part in points.items()]
    save([Chart("dashed: 1e-3", "step", "|update| / |weights|", lines, HEALTHY)], path)
