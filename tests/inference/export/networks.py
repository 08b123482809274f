"""Tiny Transformers, random and trained, and what they say of some sources."""

from typing import Any

import torch
from torch import Tensor, nn

from s2s_lightning import EOS, PAD
from s2s_lightning.data.tokenizers.tokenizer import SPECIALS
from s2s_lightning.decoding import Greedy
from s2s_lightning.model import Seq2Seq
from s2s_lightning.testing import batch_of, random_pairs
from s2s_lightning.testing.batches import pad
from s2s_lightning.training.module import Seq2SeqModule

SIZES: dict[str, Any] = {"d_model": 16, "num_heads": 2, "d_ff": 24, "num_encoder_layers": 2, "num_decoder_layers": 1}
LONGEST = 12
PAIRS = random_pairs(40)[1:]
SOURCES = [src for src, _ in PAIRS]


def randomised(module: Seq2SeqModule) -> Seq2Seq:
    """Matrices so large that the source matters and rounding does not; no bias is zero and no gain one."""
    torch.manual_seed(0)
    for parameter in module.parameters():
        matrix = parameter.ndim > 1
        nn.init.normal_(parameter) if matrix else parameter.data.add_(0.3 * torch.randn_like(parameter))
    return module.eval().model


def taught(module: Seq2SeqModule, steps: int = 60) -> Seq2Seq:
    """After some steps on the pairs."""
    torch.manual_seed(0)
    batch, optimizer = batch_of(PAIRS), torch.optim.Adam(module.parameters(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        total, tokens, _ = module.objective(module.model, batch)
        (total / tokens).backward()
        optimizer.step()
    return module.eval().model


def padded() -> tuple[Tensor, Tensor]:
    """The sources with EOS (B, S), and where padding is."""
    src = pad([[*row, EOS] for row in SOURCES])
    return src, src == PAD


def greedy(model: Seq2Seq) -> list[list[int]]:
    """Our tokens."""
    search = Greedy(max_length=LONGEST, max_length_ratio=torch.inf)
    return [hypotheses[0].tokens for hypotheses in search(model, *padded())]


@torch.no_grad()
def log_probs(model: Seq2Seq) -> list[list[float]]:
    """Ours of each token of each pair's target, EOS included."""
    batch = batch_of(PAIRS)
    chosen = model.log_probs(model.teacher_force(batch)).gather(-1, batch.tgt_out.unsqueeze(-1)).squeeze(-1)
    return [row[: len(tgt) + 1].tolist() for row, (_, tgt) in zip(chosen, PAIRS, strict=True)]


def words(vocab_size: int) -> list[str]:
    """A vocabulary for engines that read strings."""
    return [*SPECIALS, *map(str, range(len(SPECIALS), vocab_size))]
