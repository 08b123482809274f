"""Attention of validation sentences, as a picture."""

import shutil
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from s2s_lightning import BOS, EOS
from s2s_lightning.architecture import Seq2Seq
from s2s_lightning.batch import Batch
from s2s_lightning.callbacks.gathering import Gathering, Split, outputs_of
from s2s_lightning.callbacks.run import TextLayer, network, run_folder, source_ids, texts
from s2s_lightning.forcing import Focus

END = "</s>"


@dataclass(frozen=True, slots=True)
class Alignment:
    """A source (EOS last) and its best hypothesis; ``finished`` if it emitted EOS."""

    index: int
    src: list[int]
    hypothesis: list[int]
    finished: bool


class Attention(Gathering[Alignment]):
    """Draws the attention of the decoded hypotheses over their sources: ``attention.png``, the latest.

    A row is a token that the model emitted, a column a source token. The weights come from one force-decoding of the
    chosen hypotheses after validation; training is not touched.

    Args:
        num_items: sentences to draw, spread over the validation split.
        layer: the decoder layer, counted from 0 (-1 is the last); by default the mean of all.
        head: the head, counted from 0 (-1 is the last); by default the mean of all.
        keep: keep the picture of each validation too, as ``attention/step_<step>.png``.

    Raises:
        UserError: the network has no such layer or head; before training, not at the first validation.
    """

    stages = ("val",)

    def __init__(
        self, num_items: int = 6, layer: int | None = None, head: int | None = None, keep: bool = True
    ) -> None:
        super().__init__(limit=num_items)
        self.layer = layer
        self.head = head
        self.keep = keep
        self._said = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage not in ("fit", "validate") or (self.layer is None and self.head is None):
            return
        weights = self._smallest(pl_module)
        if weights is not None:
            Focus(self.layer, self.head).check(weights, "--attention.")

    @torch.no_grad()
    def _smallest(self, pl_module: LightningModule) -> Tensor | None:
        """The weights of the empty sentence; the run's random numbers stay what they were."""
        with torch.random.fork_rng(devices=[]):
            return force_decode(network(pl_module), Alignment(0, [EOS], [], True), pl_module.device)

    def take(self, step: dict[str, Any], batch: Batch) -> list[Alignment]:
        rows = zip(outputs_of(step), source_ids(batch), strict=True)
        return [
            Alignment(output.index, src, output.hypothesis.tokens, output.hypothesis.finished) for output, src in rows
        ]

    def report(self, trainer: Trainer, pl_module: LightningModule, split: Split, rows: list[Alignment]) -> None:
        # On every rank, although one draws: the forward of a sharded model is collective.
        with trainer.precision_plugin.forward_context():
            maps = [force_decode(network(pl_module), row, pl_module.device) for row in rows]
        if maps[0] is None:
            self._say(pl_module)
        elif trainer.is_global_zero:
            self._draw(trainer, [self.reduce(weights) for weights in maps if weights is not None], rows)

    def reduce(self, weights: Tensor) -> Tensor:
        """(layers, heads, T, S) -> (T, S), of the layer and head asked for or their mean."""
        return Focus(self.layer, self.head).reduce(weights)

    def _say(self, pl_module: LightningModule) -> None:
        if not self._said:
            pl_module.print(f"{type(pl_module).__name__} has no attention over the source: there is no attention.png")
        self._said = True

    def _draw(self, trainer: Trainer, maps: list[Tensor], rows: list[Alignment]) -> None:
        from s2s_lightning.callbacks.drawing import save

        data, folder = texts(trainer), run_folder(trainer)
        panels = [panel(data, row, weights) for row, weights in zip(rows, maps, strict=True)]
        save(panels, folder / "attention.png")
        if self.keep:
            (folder / "attention").mkdir(exist_ok=True)
            shutil.copyfile(folder / "attention.png", folder / "attention" / f"step_{trainer.global_step:08d}.png")


def force_decode(model: Seq2Seq, row: Alignment, device: torch.device) -> Tensor | None:
    """The weights (layers, heads, T, S) with which each token of the hypothesis was emitted, EOS included if it was."""
    src = torch.tensor([row.src], device=device)
    emitted = len(row.hypothesis) + row.finished
    tgt_in = torch.tensor([[BOS, *row.hypothesis][: max(1, emitted)]], device=device)
    output = model(tgt_in, model.start(src, torch.zeros_like(src, dtype=torch.bool)), need_weights=True)
    return None if output.attention is None else output.attention[0].float().cpu()


def panel(data: TextLayer, row: Alignment, weights: Tensor) -> Any:
    """What to draw of a sentence."""
    from s2s_lightning.callbacks.drawing import Panel

    (source,) = data.sources("val", [row.index])
    tgt = [*data.tgt_tokens(row.hypothesis, source), END][: len(weights)]
    return Panel(f"validation {row.index}", [*data.src_tokens(row.src[:-1]), END], tgt, weights.numpy())
