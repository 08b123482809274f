"""Every shipped model configuration, as a network small in vocabulary, for the laws of the contract."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor

from s2s_lightning import BOS, EOS, PAD
from s2s_lightning.checkpoints.checkpoint import instantiate
from s2s_lightning.model import Batch
from s2s_lightning.training.module import Seq2SeqModule

CONFIGS = sorted(Path("configs").glob("*.yaml"))
SRC_VOCAB, TGT_VOCAB = 17, 13


def build(config: Path, tgt_vocab_size: int | None = TGT_VOCAB) -> Seq2SeqModule:
    """The module of a configuration, parsed and made as the command line does it, in evaluation mode."""
    spec = yaml.safe_load(config.read_text())["model"]
    sizes = {"src_vocab_size": SRC_VOCAB, "tgt_vocab_size": tgt_vocab_size}
    torch.manual_seed(0)
    module: Seq2SeqModule = instantiate({**spec, "init_args": {**spec["init_args"], **sizes}}, Seq2SeqModule)
    return module.eval()


def pad(rows: Sequence[Sequence[int]], length: int = 0) -> Tensor:
    """Rows of ids as one (B, max(length, longest)) tensor."""
    width = max(length, *(len(row) for row in rows))
    return torch.tensor([[*row, *[PAD] * (width - len(row))] for row in rows])


def batch_of(pairs: Sequence[tuple[Sequence[int], Sequence[int]]], padding: int = 0) -> Batch:
    """Pairs of ids (without BOS and EOS) as a batch, both sides padded to at least ``padding``."""
    src = pad([[*s, EOS] for s, _ in pairs], padding)
    tgt_out = pad([[*t, EOS] for _, t in pairs], padding)
    tgt_in = pad([[BOS, *t] for _, t in pairs], padding)
    tokens = (tgt_out != PAD).sum().float()
    return Batch(src, src == PAD, tgt_in, tgt_out, tokens, torch.arange(len(pairs)))


def random_pairs(count: int, seed: int = 0, longest: int = 7) -> list[tuple[list[int], list[int]]]:
    """Random pairs of unequal lengths; the first source is empty."""
    generator = torch.Generator().manual_seed(seed)

    def ids(low: int, vocab: int) -> list[int]:
        length = int(torch.randint(low, longest + 1, (), generator=generator))
        return torch.randint(4, vocab, (length,), generator=generator).tolist()

    return [([] if row == 0 else ids(1, SRC_VOCAB), ids(1, TGT_VOCAB)) for row in range(count)]


@pytest.fixture(params=CONFIGS, ids=lambda path: path.stem)
def config(request: pytest.FixtureRequest) -> Path:
    """Each file of configs/ in turn."""
    return request.param


@pytest.fixture
def network(config: Path) -> Seq2SeqModule:
    """Its module in float64, evaluation mode, with unequal small vocabularies."""
    return build(config).double()
