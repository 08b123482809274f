"""Laws 1, 2, 4, 7, 8 of the network, and 14 of its gradients, over every shipped configuration."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from s2s_lightning import EOS, PAD
from s2s_lightning.model import Batch
from s2s_lightning.objectives import LabelSmoothedCrossEntropy
from s2s_lightning.testing import LAWS, Law, batch_of, random_pairs
from s2s_lightning.testing.target_laws import carried_sizes
from s2s_lightning.training.module import Seq2SeqModule
from tests.contract.conftest import build


def logits(network: Seq2SeqModule, batch: Batch) -> Tensor:
    """(B, T, V), the whole target in one call."""
    return network.model.scores(network.model.teacher_force(batch))


BOTH = ("pieces", "reordering", "shared context", "padding")
"""Names of the laws that are checked in float32, too."""


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_every_law_of_the_network_holds(network: Seq2SeqModule, law: Law) -> None:
    law.check(network)


@pytest.mark.parametrize("law", [law for law in LAWS if law.name in BOTH], ids=str)
def test_the_laws_hold_in_float32_up_to_rounding(network: Seq2SeqModule, law: Law) -> None:
    law.check(network.float())


CACHES = {"transformer", "universal", "modern", "merged", "prefix_lm", "lm"}
"""Families whose decoder attends to what it has written, and so keeps the keys and values of all of it."""


def test_what_a_decoder_carries_grows_for_caches_alone(network: Seq2SeqModule, config: Path) -> None:
    sizes, _ = carried_sizes(network.model, steps=9)
    grows = any(size != sizes[0] for size in sizes)
    assert grows == (config.stem in CACHES)


def test_it_learns_sixteen_pairs_by_heart(config: Path) -> None:
    module = build(config)
    batch = batch_of([([4 + i % 13, 4 + i // 13], target) for i, (_, target) in enumerate(random_pairs(16, longest=5))])
    expected = [[t for t in row if t not in (PAD, EOS)] for row in batch.tgt_out.tolist()]
    optimizer = torch.optim.Adam(module.parameters(), 1e-3)
    module.objective = LabelSmoothedCrossEntropy(0.0)
    for step in range(400):
        optimizer.zero_grad()
        total, tokens, parts = module.objective(module.model, batch)
        (total / tokens).backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        close = step % 10 == 0 and parts["nll"] / tokens < 0.2
        if close and [best.tokens for best, *_ in module.generate(batch)] == expected:
            return
    pytest.fail(f"after 400 steps the loss is {parts['nll'] / tokens:.3f} nats a token")


def test_save_and_load_give_the_same_logits(config: Path, tmp_path: Path) -> None:
    batch, saved = batch_of(random_pairs(3)), build(config)
    torch.save(saved.state_dict(), tmp_path / "weights.pt")
    loaded = build(config)
    with torch.no_grad():
        for parameter in loaded.parameters():
            parameter.uniform_()
    loaded.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert torch.equal(logits(saved, batch), logits(loaded, batch))


def test_bfloat16_autocast_trains(config: Path) -> None:
    module, batch = build(config).train(), batch_of(random_pairs(4))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = module.objective(module.model, batch)
    output.sum.backward()
    assert output.sum.dtype == torch.float32
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


def test_a_network_of_bfloat16_alone_trains_and_writes(config: Path) -> None:
    module, batch = build(config).bfloat16(), batch_of(random_pairs(4))
    output = module.train().objective(module.model, batch)
    output.sum.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())
    with torch.no_grad():
        assert len(module.eval().generate(batch)) == 4


@pytest.mark.parametrize("tgt_vocab_size", [None, 13], ids=["joint", "separate"])
def test_joint_and_separate_vocabularies_give_scores_of_their_size(config: Path, tgt_vocab_size: int | None) -> None:
    module, batch = build(config, tgt_vocab_size), batch_of(random_pairs(2))
    copied = batch.src.shape[1] if module.model.readout.needs_attention else 0  # V + i is the word at position i
    assert logits(module, batch).shape[-1] == (tgt_vocab_size or 17) + copied
