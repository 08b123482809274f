"""The cheap form of three laws: on some short sentences of a real batch, in the precision of training."""

import torch

from s2s_lightning import EOS, PAD
from s2s_lightning.model import Batch, Seq2Seq
from s2s_lightning.testing.law import BrokenLaw, Result
from s2s_lightning.testing.laws import COMPANY, PADDING, PIECES

LONGEST = (12, 9, 6)
"""Tokens that are kept of each of three sentences, so that two of them have padding."""

ROUNDING = {torch.float64: 1e-6, torch.float32: 1e-2}
"""Relative difference that is no breach; in 16 bits it is ``ROUGH``."""

ROUGH = 0.2


def short_rows(batch: Batch) -> Batch:
    """Return the shortest pairs of a batch, cut to unequal lengths unless they copy, which counts positions."""
    lengths = (~batch.src_padding).sum(1) + (batch.tgt_out != PAD).sum(1)
    rows = lengths.argsort()[: len(LONGEST)]
    few = batch._replace(**{name: x[rows] for name, x in batch._asdict().items() if x is not None and x.ndim})
    if few.src_copy is None:
        few = _cut(few)
    source, target = int((~few.src_padding).sum(1).max()), int((few.tgt_out != PAD).sum(1).max())
    sides = {"src": source, "src_padding": source, "src_copy": source, "tgt_in": target, "tgt_out": target}
    there = {name: (x, width) for name, width in sides.items() if (x := getattr(few, name)) is not None}
    return few._replace(**{name: x[:, :width] for name, (x, width) in there.items()})


def _cut(batch: Batch) -> Batch:
    """Cut row i of both sides to ``LONGEST[i]`` tokens; a source ends in EOS again."""
    src, tgt_in, tgt_out = batch.src.clone(), batch.tgt_in.clone(), batch.tgt_out.clone()
    for row, longest in enumerate(LONGEST[: len(src)]):
        if int((~batch.src_padding[row]).sum()) > longest:
            src[row, longest - 1], src[row, longest:] = EOS, PAD
        tgt_in[row, longest:], tgt_out[row, longest:] = PAD, PAD
    return batch._replace(src=src, src_padding=src == PAD, tgt_in=tgt_in, tgt_out=tgt_out)


def check_first_batch(model: Seq2Seq, batch: Batch) -> list[Result]:
    """Return the laws that a network in evaluation mode breaks on a batch: padding, pieces, company."""
    few, broken = short_rows(batch), []
    rtol = ROUNDING.get(next(model.parameters()).dtype, ROUGH)
    for law in (PADDING, PIECES, COMPANY):
        try:
            law.test(model, few, rtol)
        except BrokenLaw as said:
            broken.append(Result(law, "FAILS", str(said)))
    return broken
