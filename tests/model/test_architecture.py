"""Functions of the contract that no family can get wrong."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from s2s_lightning import PAD
from s2s_lightning.errors import UserError
from s2s_lightning.model import (
    State,
    assemble,
    masked_mean,
    reorder,
    repeat,
    select,
    tree_map,
)
from tests.helpers.toy import VOCAB, WIDTH, ToyDecoder, ToyEncoder, toy_batch, toy_network


class Pair(NamedTuple):
    left: Tensor
    right: Tensor | None


ROWS = torch.arange(6.0).view(3, 2)


def state() -> State:
    """Of three sentences, with every kind of tree."""
    return State(context=Pair(ROWS, None), carry={"cells": [ROWS + 10, (ROWS + 20,)], "position": torch.arange(3)})


def test_a_tree_keeps_its_types_and_its_nones() -> None:
    mapped = tree_map(lambda x: x + 1, state())
    assert isinstance(mapped, State)
    assert isinstance(mapped.context, Pair)
    assert mapped.context.right is None
    assert isinstance(mapped.carry["cells"], list)
    assert torch.equal(mapped.carry["cells"][1][0], ROWS + 21)


def test_repeat_puts_the_hypotheses_of_a_sentence_side_by_side() -> None:
    twice = repeat(state(), 2)
    assert torch.equal(twice.context.left, ROWS[[0, 0, 1, 1, 2, 2]])
    assert torch.equal(twice.carry["position"], torch.tensor([0, 0, 1, 1, 2, 2]))


def test_select_keeps_rows_of_context_and_carry() -> None:
    kept = select(state(), torch.tensor([2, 0]))
    assert torch.equal(kept.context.left, ROWS[[2, 0]])
    assert torch.equal(kept.carry["cells"][0], ROWS[[2, 0]] + 10)


def test_reorder_moves_the_carry_alone() -> None:
    before = state()
    moved = reorder(before, torch.tensor([1, 1, 0]))
    assert moved.context is before.context
    assert torch.equal(moved.carry["position"], torch.tensor([1, 1, 0]))
    assert torch.equal(before.carry["position"], torch.arange(3))


def network(tie: str, tgt_vocab_size: int | None):  # type: ignore[no-untyped-def]
    sizes = {"src_vocab_size": VOCAB, "tgt_vocab_size": tgt_vocab_size, "d_embedding": WIDTH}
    return assemble(ToyEncoder(), ToyDecoder(attends=True), **sizes, tie_embeddings=tie)


@pytest.mark.parametrize(
    ("tie", "tgt_vocab_size", "matrices"),
    [("all", None, 1), ("all", 9, 2), ("readout", None, 2), ("readout", 9, 2), ("none", None, 3), ("none", 9, 3)],
)
def test_ties_share_one_parameter(tie: str, tgt_vocab_size: int | None, matrices: int) -> None:
    model = network(tie, tgt_vocab_size)
    source, target, readout = model.src_embedding.weight, model.tgt_embedding.weight, model.readout.weight
    assert len({source, target, readout}) == matrices
    assert (target is readout) == (tie != "none")
    assert len(target) == len(readout) == (tgt_vocab_size or VOCAB)


def test_a_tied_readout_of_another_width_is_refused_by_name() -> None:
    sizes = {"src_vocab_size": VOCAB, "tgt_vocab_size": None, "d_embedding": WIDTH + 1}
    with pytest.raises(UserError, match=f"{WIDTH + 1} != {WIDTH}"):
        assemble(ToyEncoder(), ToyDecoder(attends=True), **sizes, tie_embeddings="readout")


@pytest.mark.parametrize("std", [0.0, -1.0])
def test_embeddings_without_a_spread_are_refused(std: float) -> None:
    sizes = {"src_vocab_size": 9, "tgt_vocab_size": 7, "d_embedding": WIDTH}
    with pytest.raises(UserError, match=f"embedding_std={std}"):
        assemble(ToyEncoder(), ToyDecoder(attends=True), **sizes, tie_embeddings="none", embedding_std=std)


@pytest.mark.parametrize("tie", ["all", "none"])
def test_embeddings_give_the_variance_asked_for_and_zero_for_padding(tie: str) -> None:
    torch.manual_seed(0)
    sizes = {"src_vocab_size": 4000, "tgt_vocab_size": None, "d_embedding": WIDTH}
    model = assemble(ToyEncoder(), ToyDecoder(attends=True), **sizes, tie_embeddings=tie, embedding_std=0.5)
    for embedding in (model.src_embedding, model.tgt_embedding):
        assert embedding(torch.arange(1, 4000)).std().item() == pytest.approx(0.5, rel=0.05)
        assert not embedding(torch.tensor([PAD])).any()
    assert model.readout.weight[1:].std().item() == pytest.approx(WIDTH**-0.5, rel=0.05)


def test_the_masked_mean_is_that_of_each_sentence_alone() -> None:
    states = torch.randn(2, 5, 3, dtype=torch.float64)
    padding = torch.tensor([[False] * 5, [False, False, True, True, True]])
    means = masked_mean(states, padding)
    assert torch.allclose(means[0, 0], states[0].mean(0), atol=1e-12)
    assert torch.allclose(means[1, 0], states[1, :2].mean(0), atol=1e-12)


def test_step_by_step_is_the_teacher_forced_pass() -> None:
    model, batch = toy_network(), toy_batch([("abc", "hg"), ("d", "efgh")])
    together = model.log_probs(model.teacher_force(batch))
    state = model.start(batch.src, batch.src_padding)
    for position in range(batch.tgt_in.shape[1]):
        step = model.step(batch.tgt_in[:, position : position + 1], state)
        assert torch.allclose(step.log_probs[:, 0], together[:, position], atol=1e-10)
        state = step.state
