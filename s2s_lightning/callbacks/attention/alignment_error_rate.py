"""The alignment error rate of attention over a validation split with gold alignments."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from s2s_lightning.callbacks.attention.attention_maps import target_ids
from s2s_lightning.callbacks.attention.heads import add_heads, check_focus
from s2s_lightning.callbacks.reports.gathered_rows import Gathering, Split
from s2s_lightning.data import Seq2SeqData
from s2s_lightning.decoding.force_decode import Focus
from s2s_lightning.errors import UserError
from s2s_lightning.evaluation.word_alignment import Counts, Gold, attended, count, error_rate, read_gold, words_of
from s2s_lightning.model import Batch
from s2s_lightning.runs.trainer_queries import network, run_folder, source_ids


@dataclass(frozen=True, slots=True)
class Judged:
    """A sentence: the counts of the map asked for and then of each head, None if its words cannot be told.

    ``shape`` is (layers, heads).
    """

    index: int
    counts: Counts | None
    shape: tuple[int, int]


class AlignmentErrorRate(Gathering[Judged]):
    """Logs ``val/alignment_error_rate``, in percent, of attention to gold alignments (Och & Ney, 2003).

    As each reference is force-decoded, a token of it is linked to the source token with the most attention, EOS of
    either side aside; two words are linked if any of their tokens are, words being what white space separates in both
    texts. ``alignment.csv`` has the rate for each head. It costs a further pass over the validation split, and training
    nothing.

    Args:
        gold: file with a line for each validation pair: ``i-j`` a sure link of source word i and target word j, ``ipj``
            or ``i?j`` a possible one. Without it nothing is computed.
        one_based: whether its words are counted from 1.
        layer: the decoder layer, counted from 0 (-1 is the last); by default the mean of all.
        head: the head, counted from 0 (-1 is the last); by default the mean of all.

    Raises:
        UserError: the file cannot be read, does not fit the validation split, or there is no such layer or head.
    """

    growing_files = ("alignment.csv",)

    stages = ("val",)

    def __init__(
        self, gold: str | None = None, one_based: bool = False, *, layer: int | None = None, head: int | None = None
    ) -> None:
        super().__init__()
        self.file = gold
        self.focus = Focus(layer, head)
        self._gold = None if gold is None else read_gold(gold, "alignment.gold", one_based)
        self._words: dict[int, tuple[list[int], list[int]] | None] = {}
        self._said = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self._gold is None or stage not in ("fit", "validate"):
            return
        self._data: Seq2SeqData = trainer.datamodule  # type: ignore[attr-defined]
        check_focus(pl_module, self.focus, "--alignment.")
        check_words(self._gold, self._data, f"alignment.gold={self.file}")

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, *position: int
    ) -> None:
        if self._gold is None or trainer.sanity_checking:
            return
        with torch.no_grad(), trainer.precision_plugin.forward_context():
            attention = network(pl_module).teacher_force(batch, need_weights=True).attention
        if attention is not None:
            super().on_validation_batch_end(trainer, pl_module, {"attention": attention}, batch, *position)
        elif not self._said:
            pl_module.print(f"{type(pl_module).__name__} has no attention over the source: no alignment error rate")
            self._said = True

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._gold is not None:
            super().on_validation_epoch_end(trainer, pl_module)

    def take(self, step: dict[str, Any], batch: Batch) -> list[Judged]:
        weights = step["attention"].float().cpu()
        rows = zip(batch.rows.tolist(), source_ids(batch), target_ids(batch), weights, strict=True)
        return [self._judge(index, src[:-1], tgt, each) for index, src, tgt, each in rows]

    def _judge(self, index: int, src: list[int], tgt: list[int], weights: Tensor) -> Judged:
        assert self._gold is not None
        weights = weights[..., : len(tgt), : len(src)]
        shape = (weights.shape[0], weights.shape[1])
        if index not in self._words:
            self._words[index] = words_of_pair(self._data, index, src, tgt)
        words = self._words[index]
        if words is None:
            return Judged(index, None, shape)
        maps = torch.cat([self.focus.reduce(weights).unsqueeze(0), weights.flatten(0, 1)]).numpy()
        return Judged(index, count(attended(maps, *words), self._gold[index]), shape)

    def report(self, trainer: Trainer, pl_module: LightningModule, split: Split, rows: list[Judged]) -> None:
        counts = [row.counts for row in rows if row.counts is not None]
        if len(counts) < len(rows) and not self._said:
            pl_module.print(
                f"alignment error rate: {len(rows) - len(counts):,} of {len(rows):,} pairs are left out, whose "
                "tokens do not decode to the words that white space separates in their texts"
            )
            self._said = True
        if not counts:
            return
        rates = error_rate(counts)
        # The same on every rank, from the same gathered rows.
        pl_module.log("val/alignment_error_rate", torch.tensor(rates[0], dtype=torch.float64), batch_size=1)
        if trainer.is_global_zero:
            heads = torch.from_numpy(rates[1:]).view(rows[0].shape)
            add_heads(run_folder(trainer) / "alignment.csv", trainer.global_step, alignment_error_rate=heads)


def check_words(gold: Sequence[Gold], data: Seq2SeqData, given: str) -> None:
    """Raises UserError for gold alignments that are not those of the validation split."""
    pairs = data.store("val").info.pairs
    if len(gold) != pairs:
        raise UserError(
            f"{given} has {len(gold):,} lines, but the validation split {pairs:,} pairs: it must have a line for each"
        )
    texts = zip(data.sources("val", range(pairs)), data.references("val", range(pairs)), strict=True)
    for line, ((source, (target, *_)), links) in enumerate(zip(texts, gold, strict=True), 1):
        words = (len(source.split()), len(target.split()))
        beyond = [link for link in sorted(links.possible) if link[0] >= words[0] or link[1] >= words[1]]
        if beyond:
            raise UserError(
                f"{given}, line {line}: a link of words {beyond[0][0]} and {beyond[0][1]} (counted from 0), but source "
                f"and target have {words[0]} and {words[1]} words: does the file count from 1 (alignment.one_based), "
                "or belong to other data?"
            )


def words_of_pair(data: Seq2SeqData, index: int, src: list[int], tgt: list[int]) -> tuple[list[int], list[int]] | None:
    """The word of each token as it is read; None where the tokens decode to other words than the texts have."""
    (source,), ((target, *_),) = data.sources("val", [index]), data.references("val", [index])
    turn = -1 if data.tokenizers.reverse_source else 1
    src_words = words_of(src[::turn], data.tokenizers.src.decode)
    tgt_words = words_of(tgt, data.tokenizers.target.decode)
    found = [1 + max(words, default=-1) for words in (src_words, tgt_words)]
    return (src_words[::turn], tgt_words) if found == [len(source.split()), len(target.split())] else None
