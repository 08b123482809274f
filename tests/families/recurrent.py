"""Sentences of unlike lengths, and the laws of networks, shared by the tests of recurrent families."""

import torch
from torch import Tensor

from s2s_lightning import BOS, EOS, PAD
from s2s_lightning.model import Seq2Seq
from tests.families.laws import BASIC

LENGTHS = (5, 2, 1)


def source(padding: int = 0) -> tuple[Tensor, Tensor]:
    """Three sentences of unequal lengths, the last one empty, with further columns of padding."""
    src = torch.randint(4, 11, (3, 5), generator=torch.Generator().manual_seed(1))
    for row, length in zip(src, LENGTHS, strict=True):
        row[length - 1], row[length:] = EOS, PAD
    src = torch.nn.functional.pad(src, (0, padding), value=PAD)
    return src, src == PAD


def target() -> Tensor:
    """Three targets of six tokens, BOS first."""
    tgt = torch.randint(4, 11, (3, 6), generator=torch.Generator().manual_seed(2))
    tgt[:, 0] = BOS
    return tgt


def logits(model: Seq2Seq, tgt: Tensor, padding: int = 0) -> Tensor:
    """(B, T, V) of the whole target in one call."""
    src, src_padding = source(padding)
    return model.readout(model(tgt, model.start(src, src_padding)), src)


def assert_laws(model: Seq2Seq) -> None:
    """Laws 1, 2 and 4."""
    model = model.double().eval()
    with torch.no_grad():
        for law in BASIC:
            law.check(model)
