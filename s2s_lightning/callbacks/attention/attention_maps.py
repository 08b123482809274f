"""The attention of one sentence: over its source, as its hypothesis and as its reference is force-decoded."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from s2s_lightning import BOS, EOS, PAD
from s2s_lightning.callbacks.reports.gathered_rows import outputs_of
from s2s_lightning.model import Batch, Seq2Seq
from s2s_lightning.runs.trainer_queries import TextLayer, source_ids

END = "</s>"


@dataclass(frozen=True, slots=True)
class Item:
    """A source (EOS last), its best hypothesis (``finished`` if it emitted EOS) and its reference, both without EOS."""

    index: int
    src: list[int]
    hypothesis: list[int]
    finished: bool
    reference: list[int]


def items_of(step: dict[str, Any], batch: Batch) -> list[Item]:
    """A row a sentence of what an evaluation step returned."""
    rows = zip(outputs_of(step), source_ids(batch), target_ids(batch), strict=True)
    return [
        Item(output.index, src, output.hypothesis.tokens, output.hypothesis.finished, reference)
        for output, src, reference in rows
    ]


def target_ids(batch: Batch) -> list[list[int]]:
    """The real target ids of each sentence, without EOS."""
    return [[i for i in row if i not in (PAD, EOS)] for row in batch.tgt_out.tolist()]


class Map(NamedTuple):
    """The attention with which each token of a target was emitted.

    Attributes:
        weights: (layers, heads, T, S), of no more than the first ``max_length`` tokens of the target.
        target: its ids, those of all.
        length: T of all, EOS included if it was emitted.
    """

    weights: Tensor
    target: list[int]
    length: int


class Maps(NamedTuple):
    """Attention maps of one sentence."""

    item: Item
    hypothesis: Map
    reference: Map


def maps_of(model: Seq2Seq, item: Item, device: torch.device, max_length: int) -> Maps | None:
    """None if the architecture has no attention over the source."""
    bound: dict[str, Any] = {"device": device, "max_length": max_length}
    hypothesis = force_decode(model, item.src, item.hypothesis, item.finished, **bound)
    reference = force_decode(model, item.src, item.reference, True, **bound)
    return None if hypothesis is None or reference is None else Maps(item, hypothesis, reference)


@torch.no_grad()
def force_decode(
    model: Seq2Seq,
    src: list[int],
    target: list[int],
    finished: bool,
    *,
    device: torch.device,
    max_length: int | None = None,
) -> Map | None:
    """The attention of one pair, src (EOS last) and target (without); None if the architecture has none.

    ``finished``: whether the target's EOS was emitted, too. What comes after the first ``max_length`` is not computed.
    """
    length = max(1, len(target) + finished)
    source = torch.tensor([src], device=device)
    tgt_in = torch.tensor([[BOS, *target][:length][:max_length]], device=device)
    output = model(tgt_in, model.start(source, torch.zeros_like(source, dtype=torch.bool)), need_weights=True)
    return None if output.attention is None else Map(output.attention[0].float().cpu(), target, length)


class Labels(NamedTuple):
    """The tokens of a source and of a target, EOS last where there is one."""

    source: list[str]
    target: list[str]


def labels_of(data: TextLayer, item: Item, what: Map) -> Labels:
    """Return the labels of a map as the tokenizers print them."""
    (text,) = data.sources("val", [item.index])
    return Labels([*data.src_tokens(item.src[:-1]), END], [*data.tgt_tokens(what.target, text), END][: what.length])


def save_weights(path: Path, data: TextLayer, step: int, found: Sequence[Maps], max_length: int) -> None:
    """The weights of all layers and heads, of half precision, and what they are of, as a file of numpy.

    ``items`` and ``step``; for item 3, ``3/source`` (S,), ``3/hypothesis/tokens`` (T,), ``3/hypothesis/attention``
    (layers, heads, T, S), and the same of ``3/reference``. No side has more than ``max_length`` tokens.
    """
    arrays: dict[str, Any] = {"step": step, "items": [maps.item.index for maps in found]}
    for maps in found:
        for name, what in (("hypothesis", maps.hypothesis), ("reference", maps.reference)):
            labels, key = labels_of(data, maps.item, what), f"{maps.item.index}"
            arrays[f"{key}/source"] = np.array(labels.source[:max_length])
            arrays[f"{key}/{name}/tokens"] = np.array(labels.target[:max_length])
            arrays[f"{key}/{name}/attention"] = what.weights[..., :max_length].half().numpy()
    np.savez_compressed(path, **arrays)
