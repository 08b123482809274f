"""Gradients through time over the steps of a run."""

import csv
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningModule, Trainer

from s2s_lightning import PAD
from s2s_lightning.callbacks.diagnostics.through_time import decoder_norms, encoder_norms
from s2s_lightning.callbacks.reports.gathered_rows import Gathering, Split
from s2s_lightning.callbacks.reports.media import log_picture
from s2s_lightning.errors import check_at_least
from s2s_lightning.model import Batch
from s2s_lightning.runs.trainer_queries import network, run_folder, source_ids

PARTS = {"encoder": encoder_norms, "decoder": decoder_norms}
FIRST = {"encoder": 0, "decoder": 1}
"""Part -> the distance of its first norm."""

TITLES = {
    "encoder": ("encoder", "steps to the end of the reading"),
    "decoder": ("decoder", "steps to the loss"),
}


@dataclass(frozen=True, slots=True)
class Pair:
    """The ids of a validation sentence and its reference, as a batch has them."""

    index: int
    src: list[int]
    tgt_in: list[int]
    tgt_out: list[int]
    src_copy: list[int] | None


class Norm(NamedTuple):
    """A line of gradient_flow.csv: |dL/dh_t| of a sentence at a distance of t."""

    step: int
    part: str
    sentence: int
    distance: int
    norm: float


class GradientFlow(Gathering[Pair]):
    """Draws |dL/dh_t| against the distance from t to the loss, for recurrent encoders and decoders.

    ``gradient_flow.png`` has a line for each validation, the mean of the logarithm over the sentences;
    ``gradient_flow.csv`` the norms of each sentence. Logged is the slope of the line, in orders of magnitude (log10) a
    step: ``gradient_flow/encoder`` and ``gradient_flow/decoder``, below 0 where the gradient vanishes on its way back,
    above where it explodes (Pascanu et al., 2013, arXiv:1211.5063). The recurrences are run step by step, with the
    weights that are validated. Training is not touched, neither its gradients nor its random numbers. Of a Transformer,
    in which nothing recurs, that is said.

    Args:
        num_sentences: sentences to look at, spread over the validation split.
        every: validations from one look to the next.
        max_length: source and target tokens of a sentence that are looked at; what follows is left out.

    Raises:
        UserError: a number below 1, or a max_length below 2.
    """

    needs_whole_weights = True

    growing_files = ("gradient_flow.csv",)

    stages = ("val",)

    def __init__(self, num_sentences: int = 8, every: int = 1, max_length: int = 200) -> None:
        check_at_least(1, num_sentences=num_sentences, every=every)
        check_at_least(2, max_length=max_length)
        super().__init__(limit=num_sentences)
        self.every = every
        self.max_length = max_length
        self._validations = 0
        self._said = False

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._validations += not trainer.sanity_checking

    def state_dict(self) -> dict[str, Any]:
        return {"validations": self._validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._validations = state_dict["validations"]

    def take(self, step: dict[str, Any], batch: Batch) -> Iterable[Pair]:
        if (self._validations - 1) % self.every:
            return []
        copies = [None] * len(batch.src) if batch.src_copy is None else batch.src_copy.tolist()
        columns = batch.rows.tolist(), source_ids(batch), batch.tgt_in.tolist(), batch.tgt_out.tolist(), copies
        return [self._pair(*row) for row in zip(*columns, strict=True)]

    def _pair(self, index: int, src: list[int], tgt_in: list[int], tgt_out: list[int], copy: list[int] | None) -> Pair:
        source, target = min(len(src), self.max_length), min(sum(i != PAD for i in tgt_out), self.max_length)
        return Pair(index, src[:source], tgt_in[:target], tgt_out[:target], copy and copy[:source])

    def report(self, trainer: Trainer, pl_module: LightningModule, split: Split, rows: list[Pair]) -> None:
        # On every rank, although one writes: the forward of a sharded model is collective.
        with torch.random.fork_rng(devices=[]):  # of what a user's own network may draw even in eval mode
            norms = [norm for row in rows for norm in self._norms(trainer.global_step, pl_module, row)]
        self._say(pl_module, norms)
        slopes = {part: slope([n for n in norms if n.part == part]) for part in PARTS}
        logged = {f"gradient_flow/{part}": torch.tensor(x) for part, x in slopes.items() if math.isfinite(x)}
        pl_module.log_dict(logged, batch_size=1)
        if norms and trainer.is_global_zero:
            folder = run_folder(trainer)
            append(folder / "gradient_flow.csv", norms)
            draw(read(folder / "gradient_flow.csv"), folder / "gradient_flow.png")
            log_picture(trainer, "gradient_flow", folder / "gradient_flow.png")

    def _norms(self, step: int, pl_module: LightningModule, row: Pair) -> Iterable[Norm]:
        batch = as_batch(row, pl_module.device)
        for part, norms_of in PARTS.items():
            norms = norms_of(network(pl_module), batch)
            for distance, norm in enumerate([] if norms is None else norms.tolist(), FIRST[part]):
                yield Norm(step, part, row.index, distance, norm)

    def _say(self, pl_module: LightningModule, norms: list[Norm]) -> None:
        missing = [part for part in PARTS if not any(norm.part == part for norm in norms)]
        if missing and not self._said:
            pl_module.print(f"{type(pl_module).__name__}: nothing recurs in the {' and the '.join(missing)}, so that "
                            "there is no gradient through time")  # fmt: skip
        self._said = True


def as_batch(row: Pair, device: torch.device) -> Batch:
    """Return a batch of one sentence."""
    with torch.inference_mode(False):
        src, tgt_in, tgt_out = (torch.tensor([ids], device=device) for ids in (row.src, row.tgt_in, row.tgt_out))
        copy = None if row.src_copy is None else torch.tensor([row.src_copy], device=device)
        padding = torch.zeros_like(src, dtype=torch.bool)
        divisor = torch.tensor(float(tgt_out.shape[1]), device=device)
        return Batch(src, padding, tgt_in, tgt_out, divisor, torch.tensor([row.index], device=device), copy)


def slope(norms: Sequence[Norm]) -> float:
    """Return the slope of log10 |dL/dh_t| over the distance, by least squares over all sentences; NaN without two
    distances.

    Zeros are left out: beyond them nothing is felt at all.
    """
    points = [(norm.distance, math.log10(norm.norm)) for norm in norms if 0 < norm.norm < math.inf]
    if len({distance for distance, _ in points}) < 2:
        return math.nan
    mean_x, mean_y = (math.fsum(column) / len(points) for column in zip(*points, strict=True))
    above = math.fsum((x - mean_x) * (y - mean_y) for x, y in points)
    return above / math.fsum((x - mean_x) ** 2 for x, _ in points)


def append(path: Path, norms: Iterable[Norm]) -> None:
    """Add lines to the CSV file."""
    new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(Norm._fields)
        writer.writerows(norms)


def read(path: Path) -> list[Norm]:
    """Return all norms of the run; the later one of a step that was repeated."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [
            Norm(int(row["step"]), row["part"], int(row["sentence"]), int(row["distance"]), float(row["norm"]))
            for row in csv.DictReader(file)
        ]
    return list({row[:4]: row for row in rows}.values())


def draw(norms: Sequence[Norm], path: Path) -> None:
    """A chart for each part, a line for each step."""
    from s2s_lightning.plotting.lines import Chart, Line, save

    charts = []
    for part, (title, x_label) in TITLES.items():
        of_part = sorted(norm for norm in norms if norm.part == part)
        lines = [
            Line(f"step {step:,}", *zip(*means(list(group)), strict=True))
            for step, group in groupby(of_part, key=lambda norm: norm.step)
        ]
        if lines:
            charts.append(Chart(title, x_label, "|dL/dh|", lines))
    save(charts, path)


def means(norms: Sequence[Norm]) -> list[tuple[int, float]]:
    """Distance and geometric mean over the sentences that are so long, 0 where one of them has 0."""
    ordered = sorted(norms, key=lambda norm: norm.distance)
    groups = groupby(ordered, key=lambda norm: norm.distance)
    return [(distance, _geometric_mean([norm.norm for norm in group])) for distance, group in groups]


def _geometric_mean(values: Sequence[float]) -> float:
    if not all(0 < value < math.inf for value in values):
        return 0.0
    return math.exp(math.fsum(map(math.log, values)) / len(values))
