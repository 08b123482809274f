"""Every shipped model configuration, as a network small in vocabulary, for the laws of the contract."""

from copy import deepcopy
from functools import cache
from pathlib import Path

import pytest
import torch
import yaml

import s2s_lightning.families  # noqa: F401  a class has its name once it is imported
from s2s_lightning.checkpoints.checkpoint import instantiate
from s2s_lightning.testing import SRC_VOCAB, TGT_VOCAB
from s2s_lightning.training.module import Seq2SeqModule

CONFIGS = sorted(Path("configs").glob("*.yaml"))


def build(config: Path, tgt_vocab_size: int | None = TGT_VOCAB) -> Seq2SeqModule:
    """The module of a configuration, parsed and made as the command line does it, in evaluation mode."""
    spec = yaml.safe_load(config.read_text())["model"]
    sizes = {"src_vocab_size": SRC_VOCAB, "tgt_vocab_size": tgt_vocab_size}
    torch.manual_seed(0)
    module: Seq2SeqModule = instantiate({**spec, "init_args": {**spec["init_args"], **sizes}}, Seq2SeqModule)
    return module.eval()


@pytest.fixture(params=CONFIGS, ids=lambda path: path.stem)
def config(request: pytest.FixtureRequest) -> Path:
    """Each file of configs/ in turn."""
    return request.param


@pytest.fixture
def network(config: Path) -> Seq2SeqModule:
    """Its module in float64, evaluation mode, with unequal small vocabularies."""
    return deepcopy(built(config))


@cache
def built(config: Path) -> Seq2SeqModule:
    """The module of a configuration in float64, to copy."""
    return build(config).double()
