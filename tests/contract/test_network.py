"""Laws 1, 2, 4, 7, 8 of the network, and 14 of its gradients, over every shipped configuration."""

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from s2s_lightning import BOS, EOS, PAD
from s2s_lightning.model import Batch, State, branch, reorder, repeat, select, tree_map
from s2s_lightning.objectives import LabelSmoothedCrossEntropy
from s2s_lightning.training.module import Seq2SeqModule
from tests.contract.conftest import batch_of, build, random_pairs


def logits(network: Seq2SeqModule, batch: Batch) -> Tensor:
    """(B, T, V), the whole target in one call."""
    return network.model.scores(network.model.teacher_force(batch))


def without_padding(scores: Tensor, size: int) -> Tensor:
    """The columns that a narrower batch has: a copying readout has one more for each position of padding, at -inf."""
    assert (scores[..., size:] == -torch.inf).all()
    return scores[..., :size]


def in_pieces(network: Seq2SeqModule, tgt_in: Tensor, state: State, cuts: list[int]) -> Tensor:
    """(B, T, V), the target cut before each of ``cuts``."""
    parts = []
    for piece in tgt_in.tensor_split(cuts, 1):
        step = network.model.step(piece, state)
        parts.append(step.log_probs)
        state = step.state
    return torch.cat(parts, 1)


in_both_precisions = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])


@in_both_precisions
def test_any_split_of_the_target_gives_the_logits_of_one_call(network: Seq2SeqModule, dtype: torch.dtype) -> None:
    network.to(dtype)
    batch = batch_of(random_pairs(4))
    start = network.model.start(batch.src, batch.src_padding)
    whole = network.model.step(batch.tgt_in, start).log_probs
    tolerance = 1e-10 if dtype == torch.float64 else 1e-4
    for cuts in ([1], [2, 3], list(range(1, batch.tgt_in.shape[1]))):
        torch.testing.assert_close(in_pieces(network, batch.tgt_in, start, cuts), whole, rtol=0, atol=tolerance)


@in_both_precisions
def test_reordered_hypotheses_go_on_from_their_parents(network: Seq2SeqModule, dtype: torch.dtype) -> None:
    network.to(dtype)
    batch = batch_of(random_pairs(3))
    start = repeat(network.model.start(batch.src, batch.src_padding), 2)
    tgt_in = torch.randint(4, 13, (6, 6))
    tgt_in[:, 0] = BOS
    parents = torch.tensor([1, 1, 2, 2, 5, 4])
    first = network.model.step(tgt_in[:, :3], start)
    then = network.model.step(tgt_in[:, 3:], reorder(first.state, parents)).log_probs
    history = torch.cat([tgt_in[parents, :3], tgt_in[:, 3:]], 1)
    whole = network.model.step(history, start).log_probs
    torch.testing.assert_close(then, whole[:, 3:], rtol=0, atol=1e-10 if dtype == torch.float64 else 1e-4)


@in_both_precisions
def test_hypotheses_of_a_sentence_may_share_its_context(network: Seq2SeqModule, dtype: torch.dtype) -> None:
    network.to(dtype)
    batch = batch_of(random_pairs(3))
    close = partial(torch.testing.assert_close, rtol=0, atol=1e-10 if dtype == torch.float64 else 1e-4)
    before = network.model.step(batch.tgt_in[:, :1], network.model.start(batch.src, batch.src_padding)).state
    rows, sentences = torch.tensor([2, 2, 1, 1]), torch.tensor([2, 1])
    shared, own = branch(before, rows, sentences), select(before, rows)
    for piece in torch.randint(4, 13, (4, 5)).split((1, 4), 1):
        found, expected = (network.model.step(piece, state, need_weights=True) for state in (shared, own))
        close(found.log_probs, expected.log_probs)
        close(found.attention, expected.attention)
        shared, own = found.state, expected.state
    piece, rows = torch.randint(4, 13, (2, 1)), torch.tensor([3, 2])  # one sentence leaves, the other's hypotheses swap
    left, alone = branch(shared, rows, torch.tensor([1])), select(own, rows)
    close(network.model.step(piece, left).log_probs, network.model.step(piece, alone).log_probs)


def test_a_call_does_not_change_the_state_it_was_given(network: Seq2SeqModule) -> None:
    batch = batch_of(random_pairs(3))
    state = network.model.step(batch.tgt_in[:, :2], network.model.start(batch.src, batch.src_padding)).state
    once = network.model.step(batch.tgt_in[:, 2:4], state).log_probs
    torch.testing.assert_close(network.model.step(batch.tgt_in[:, 2:4], state).log_probs, once, rtol=0, atol=0)


CACHES = {"transformer", "universal", "modern", "merged", "prefix_lm", "lm"}
"""Families whose decoder attends to what it has written, and so keeps the keys and values of all of it."""


def test_what_a_decoder_carries_does_not_grow_but_for_caches(network: Seq2SeqModule, config: Path) -> None:
    batch, sizes = batch_of(random_pairs(3)), []
    state = network.model.start(batch.src, batch.src_padding)
    for tokens in torch.randint(4, 13, (3, 40)).split(1, 1):
        state = network.model.step(tokens, state).state
        sizes.append([x.untyped_storage().nbytes() for x in leaves(state.carry)])
    grows = any(size != sizes[0] for size in sizes)
    assert grows == (config.stem in CACHES)


def leaves(tree: object) -> list[Tensor]:
    """The tensors of a state."""
    found: list[Tensor] = []
    tree_map(lambda x: found.append(x) or x, tree)
    return found


@in_both_precisions
def test_padding_does_not_change_states_logits_or_loss(network: Seq2SeqModule, dtype: torch.dtype) -> None:
    network.to(dtype)
    close = partial(torch.testing.assert_close, rtol=0, atol=1e-10 if dtype == torch.float64 else 1e-5)
    pairs = random_pairs(4)
    tight, loose = batch_of(pairs), batch_of(pairs, padding=15)
    states = (network.model.encoder(network.model.src_embedding(b.src), b.src_padding).states for b in (tight, loose))
    for tight_row, loose_row, (src, _) in zip(*states, pairs, strict=True):
        length = len(src) + 1
        close(tight_row[:length], loose_row[:length])
    real = tight.tgt_out != PAD
    expected, found = logits(network, tight)[real], logits(network, loose)[:, : real.shape[1]][real]
    close(without_padding(found, expected.shape[-1]), expected)
    means = [total / tokens for total, tokens, _ in (network.objective(network.model, b) for b in (tight, loose))]
    close(*means)


def test_the_future_does_not_change_the_past(network: Seq2SeqModule) -> None:
    batch = batch_of(random_pairs(4, longest=9))
    before = logits(network, batch)
    t = 3
    tgt_in = batch.tgt_in.clone()
    tgt_in[:, t:] = (tgt_in[:, t:] - 4 + 1) % 9 + 4
    after = logits(network, batch._replace(tgt_in=tgt_in))
    assert torch.equal(before[:, :t], after[:, :t])
    assert not torch.equal(before[:, t:], after[:, t:])


def test_a_source_token_changes_the_logits(network: Seq2SeqModule) -> None:
    pairs = [([5, 6, 7, 8], [4, 5]), ([9, 10], [6])]
    before = logits(network, batch_of(pairs))
    after = logits(network, batch_of([([5, 6, 7, 9], [4, 5]), ([9, 10], [6])]))
    assert not torch.allclose(before[0], after[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(before[1], after[1], rtol=0, atol=1e-10)


NO_GRADIENT: dict[str, str] = {
    "key.bias": "a constant added to every score of a row cancels in the softmax",
}


def test_every_parameter_gets_a_gradient(network: Seq2SeqModule) -> None:
    batch = batch_of(random_pairs(8, longest=9))
    network.objective(network.model, batch).sum.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        if not name.endswith(tuple(NO_GRADIENT)):
            assert parameter.grad.abs().max() > 0, name


def test_nothing_depends_on_statistics_of_the_batch(network: Seq2SeqModule) -> None:
    assert not [m for m in network.modules() if "BatchNorm" in type(m).__name__]
    network.train()
    for module in network.modules():
        if "Dropout" in type(module).__name__:
            module.eval()
    pairs = random_pairs(5)
    whole = logits(network, batch_of(pairs))
    for row, pair in enumerate(pairs):
        alone = logits(network, batch_of([pair]))[0]
        part = without_padding(whole[row, : len(alone)], alone.shape[-1])
        torch.testing.assert_close(alone, part, rtol=0, atol=1e-10)


def test_micro_batches_have_the_gradient_of_one_batch(network: Seq2SeqModule) -> None:
    pairs = random_pairs(7, longest=9)

    def gradients(*parts: Batch) -> list[Tensor]:
        network.zero_grad()
        tokens = sum(int((part.tgt_out != PAD).sum()) for part in parts)
        for part in parts:
            (network.objective(network.model, part).sum / tokens).backward()
        return [p.grad.clone() for p in network.parameters()]

    whole = gradients(batch_of(pairs))
    micro = gradients(batch_of(pairs[:1]), batch_of(pairs[1:3]), batch_of(pairs[3:]))
    for a, b in zip(whole, micro, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


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
