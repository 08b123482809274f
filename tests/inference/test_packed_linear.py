"""Packed layers compute what they computed."""

from copy import deepcopy

import pytest
import torch

from s2s_lightning.decoding import Beam
from s2s_lightning.families import Transformer
from s2s_lightning.inference.packed_linear import PackedLinear, PackedReadout, available, pack
from s2s_lightning.model import LinearReadout
from s2s_lightning.testing import SRC_VOCAB, TGT_VOCAB, batch_of, random_pairs

pytestmark = pytest.mark.skipif(not available(), reason="no oneDNN on this processor")
BATCH = batch_of(random_pairs(5))


@pytest.fixture
def pair() -> tuple[Transformer, Transformer]:
    """A network, and the same packed."""
    torch.manual_seed(0)
    network = Transformer(SRC_VOCAB, TGT_VOCAB, d_model=16, num_heads=2, d_ff=32).eval()
    packed = deepcopy(network)
    pack(packed.model)
    return network, packed


def test_it_packs_every_linear_layer_and_the_readout(pair: tuple[Transformer, Transformer]) -> None:
    kinds = [[type(module) for module in network.modules()] for network in pair]
    linear = kinds[0].count(torch.nn.Linear)
    assert linear == kinds[1].count(PackedLinear) > 0
    assert kinds[0].count(LinearReadout) == kinds[1].count(PackedReadout) == 1
    assert pair[0].state_dict().keys() == pair[1].state_dict().keys()


def test_log_probabilities_and_outputs_are_the_same(pair: tuple[Transformer, Transformer]) -> None:
    with torch.no_grad():
        expected, found = (n.model.log_probs(n.model.teacher_force(BATCH)) for n in pair)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    outputs = [Beam(3)(n.model, BATCH.src, BATCH.src_padding) for n in pair]
    assert [[h.tokens for h in best] for best in outputs[0]] == [[h.tokens for h in best] for best in outputs[1]]


def test_gradients_and_other_numbers_go_the_usual_way(pair: tuple[Transformer, Transformer]) -> None:
    expected, found = (n.objective(n.model, BATCH).sum for n in pair)
    found.backward()
    torch.testing.assert_close(found, expected)
    assert all(p.grad is not None for p in pair[1].parameters())
    expected, found = (n.double().model.log_probs(n.model.teacher_force(BATCH)) for n in pair)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@torch.no_grad()
def test_a_changed_weight_counts(pair: tuple[Transformer, Transformer]) -> None:
    for network in pair:
        network.model.readout.weight.mul_(2)
    expected, found = (n.model.log_probs(n.model.teacher_force(BATCH)) for n in pair)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_other_numbers_count(pair: tuple[Transformer, Transformer]) -> None:
    """What bfloat16 has rounded is not what was packed."""
    expected, found = (n.bfloat16().float().model.log_probs(n.model.teacher_force(BATCH)) for n in pair)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_bfloat16_is_packed_where_the_processor_has_it(pair: tuple[Transformer, Transformer]) -> None:
    network = deepcopy(pair[0]).bfloat16()
    expected = network.model.log_probs(network.model.teacher_force(BATCH))
    pack(network.model)
    kind = PackedReadout if torch.ops.mkldnn._is_mkldnn_bf16_supported() else LinearReadout
    assert type(network.model.readout) is kind
    found = network.model.log_probs(network.model.teacher_force(BATCH))
    torch.testing.assert_close(found, expected, rtol=0, atol=0.05)


@torch.no_grad()
def test_a_packed_network_can_be_copied(pair: tuple[Transformer, Transformer]) -> None:
    expected, found = (n.model.log_probs(n.model.teacher_force(BATCH)) for n in (pair[0], deepcopy(pair[1])))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
