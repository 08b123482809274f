"""Every family in smaller numbers: nearly the same, and still one law for any split of the target."""

from pathlib import Path

import pytest
import torch

from s2s_lightning.errors import UserError
from s2s_lightning.inference import quantization
from s2s_lightning.model import Seq2Seq
from s2s_lightning.testing import batch_of, random_pairs
from tests.contract.conftest import build

BATCH = batch_of([(src, tgt) for src, tgt in random_pairs(4)])


def log_probs(network: Seq2Seq, piece: int) -> torch.Tensor:
    """Of the target, so many tokens a call."""
    state, found = network.start(BATCH.src, BATCH.src_padding), []
    for tgt_in in torch.split(BATCH.tgt_in, piece, 1):
        step = network.step(tgt_in, state)
        found.append(step.log_probs.exp())
        state = step.state
    return torch.cat(found, 1)


@torch.no_grad()
def test_int8_is_close_to_float32_step_by_step_too(config: Path) -> None:
    network = build(config).model
    exact = log_probs(network, 99)
    quantized = quantization.quantize(network)
    assert 0 < quantized.weights <= quantized.total
    for piece in (1, 99):
        torch.testing.assert_close(log_probs(network, piece), exact, rtol=0, atol=0.15)


@torch.no_grad()
def test_bfloat16_is_close_to_float32(config: Path) -> None:
    exact = log_probs(build(config).model, 99)
    rounded = log_probs(build(config).to(torch.bfloat16).model, 1)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, rtol=0, atol=0.05)


def test_int8_is_for_the_cpu_and_for_float32() -> None:
    quantization.check("float32", "int8", torch.device("cpu"))
    with pytest.raises(UserError, match="exclude each other"):
        quantization.check("bfloat16", "int8", torch.device("cpu"))
    with pytest.raises(UserError, match="add --device cpu"):
        quantization.check("float32", "int8", torch.device("cuda"))
