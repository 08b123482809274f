"""Attention of validation sentences: pictures, weights for programs, curves."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from s2s_lightning.callbacks.attention.attention_curves import diagonality, entropy
from s2s_lightning.callbacks.attention.attention_maps import Item, Map, Maps, items_of, labels_of, maps_of, save_weights
from s2s_lightning.callbacks.attention.attention_strip import Frames, strip, thinned
from s2s_lightning.callbacks.attention.heads import add_heads, check_focus
from s2s_lightning.callbacks.reports.gathered_rows import Gathering, Split
from s2s_lightning.callbacks.reports.media import log_picture
from s2s_lightning.decoding.force_decode import Focus
from s2s_lightning.errors import check_at_least
from s2s_lightning.model import Batch
from s2s_lightning.runs.trainer_queries import TextLayer, network, run_folder, texts

if TYPE_CHECKING:
    from s2s_lightning.plotting.matrices import Panel


class Attention(Gathering[Item]):
    """Shows what validation sentences attend to, as ``docs/models/attention.md`` tells.

    ``attention.png`` for the decoded hypotheses, ``attention_reference.png`` for the references, both force-decoded
    after validation: a row is a token that was emitted, a column a source token. ``attention.npz`` has the weights of
    all layers and heads, ``attention_strip.png`` the references over the steps of training. ``val/attention_entropy``
    (nats) and ``val/attention_diagonality`` are means over the references, ``attention.csv`` has them for each head.
    Training is not touched.

    Args:
        num_items: sentences to draw, spread over the validation split; 0 for none.
        items: those to draw instead, by their place in the split, counted from 0.
        layer: the decoder layer, counted from 0 (-1 is the last); by default the mean of all.
        head: the head, counted from 0 (-1 is the last); by default the mean of all.
        max_length: tokens of a side that are drawn and kept; of a longer sentence the first.
        steps: maps in a strip, spread over the validations so far; 0 for no strip.
        keep: pictures and weights of so many of the last validations are kept, as ``attention/step_<step>*``.

    Raises:
        UserError: the network has no such layer or head, before training; or a number is too small.
    """

    growing_files = ("attention.csv",)

    stages = ("val",)

    def __init__(
        self,
        num_items: int = 6,
        items: list[int] | None = None,
        *,
        layer: int | None = None,
        head: int | None = None,
        max_length: int = 80,
        steps: int = 6,
        keep: int = 10,
    ) -> None:
        check_at_least(0, num_items=num_items, steps=steps, keep=keep, items=min(items or [0]))
        check_at_least(1, max_length=max_length)
        super().__init__(limit=num_items if items is None else None)
        self.items = None if items is None else sorted(set(items))
        self.focus = Focus(layer, head)
        self.max_length = max_length
        self.steps = steps
        self.keep = keep
        self._frames: Frames = {}
        self._said: set[str] = set()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage in ("fit", "validate"):
            check_focus(pl_module, self.focus, "--attention.")

    def take(self, step: dict[str, Any], batch: Batch) -> list[Item]:
        return [item for item in items_of(step, batch) if self.items is None or item.index in self.items]

    def report(self, trainer: Trainer, pl_module: LightningModule, split: Split, rows: list[Item]) -> None:
        if absent := set(self.items or ()) - {item.index for item in rows}:
            self._say(pl_module, f"attention.items: validation has no sentence {', '.join(map(str, sorted(absent)))}")
        # On every rank, although one draws: the forward of a sharded model is collective.
        with trainer.precision_plugin.forward_context():
            maybe = [maps_of(network(pl_module), item, pl_module.device, self.max_length) for item in rows]
        found = [maps for maps in maybe if maps is not None]
        if not found:
            self._say(pl_module, f"{type(pl_module).__name__} has no attention over the source: none is drawn")
            return
        self._log(pl_module, found)
        if self.steps and trainer.state.fn == "fit":
            frame = {maps.item.index: self._cut(maps.reference.weights) for maps in found}
            self._frames = thinned({**self._frames, trainer.global_step: frame}, self.steps)
        if trainer.is_global_zero:
            self._write(trainer, found)

    def _say(self, pl_module: LightningModule, text: str) -> None:
        """Once."""
        if text not in self._said:
            pl_module.print(text)
        self._said.add(text)

    def _cut(self, weights: Tensor) -> Tensor:
        """(layers, heads, T, S) -> (T, S) of the layer and head asked for or their mean, as a strip keeps it."""
        return self.focus.reduce(weights)[:, : self.max_length].half()

    def _log(self, pl_module: LightningModule, found: Sequence[Maps]) -> None:
        """The same numbers on every rank, so there is nothing to synchronise."""
        curves = curves_of([self.focus.reduce(m.reference.weights) for m in found], found)
        pl_module.log_dict({f"val/attention_{name}": value for name, value in curves.items()}, batch_size=1)

    def _write(self, trainer: Trainer, found: Sequence[Maps]) -> None:
        from s2s_lightning.plotting.matrices import save

        folder, data = run_folder(trainer), texts(trainer)
        pictures = {
            "attention": [self._panel(data, maps.item, maps.hypothesis) for maps in found],
            "attention_reference": [self._panel(data, maps.item, maps.reference) for maps in found],
        }
        if self._frames and trainer.state.fn == "fit":
            pictures["attention_strip"] = [self._strip(data, maps) for maps in found]
        for name, panels in pictures.items():
            save(panels, folder / f"{name}.png")
            log_picture(trainer, name, folder / f"{name}.png")
        save_weights(folder / "attention.npz", data, trainer.global_step, found, self.max_length)
        heads = curves_of([maps.reference.weights for maps in found], found)
        add_heads(folder / "attention.csv", trainer.global_step, **heads)
        keep(folder, trainer.global_step, self.keep)

    def _panel(self, data: TextLayer, item: Item, what: Map) -> "Panel":
        from s2s_lightning.plotting.matrices import Panel, cut

        labels, weights = labels_of(data, item, what), self.focus.reduce(what.weights)
        return cut(Panel(f"validation {item.index}", *labels, weights.numpy()), self.max_length)

    def _strip(self, data: TextLayer, maps: Maps) -> "Panel":
        index, labels = maps.item.index, labels_of(data, maps.item, maps.reference)
        shape = self._cut(maps.reference.weights).shape  # a frame of another is of a reference that has changed since
        frames = {step: frame[index] for step, frame in self._frames.items() if index in frame}
        return strip(f"validation {index}", labels, {s: each for s, each in frames.items() if each.shape == shape})

    def state_dict(self) -> dict[str, Any]:
        """The strip so far, with which a resumed run goes on."""
        return {"frames": self._frames, "of": self._of()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict["of"] == self._of():
            self._frames = state_dict["frames"]

    def _of(self) -> list[int | None]:
        """Return the rows that the frames of one strip have in common."""
        return [*self.focus, self.max_length]


def curves_of(weights: Sequence[Tensor], found: Sequence[Maps]) -> dict[str, Tensor]:
    """Means over the references, whose weights are (..., T, S): two of (...)."""
    lengths = [maps.reference.length for maps in found]
    curves = {
        "entropy": [entropy(each) for each in weights],
        "diagonality": [diagonality(each, length) for each, length in zip(weights, lengths, strict=True)],
    }
    return {name: torch.stack(values).nanmean(0) for name, values in curves.items()}


def keep(folder: Path, step: int, count: int) -> None:
    """Copy what is of this step to ``attention/``, where that of the ``count`` last ones stays."""
    if not count:
        return
    kept = folder / "attention"
    kept.mkdir(exist_ok=True)
    for name in ("attention.png", "attention_reference.png", "attention.npz"):
        shutil.copyfile(folder / name, kept / f"step_{step:08d}{name.removeprefix('attention')}")
    steps = sorted({path.name[:13] for path in kept.glob("step_*")})
    for path in (path for old in steps[:-count] for path in kept.glob(f"{old}*")):
        path.unlink()
