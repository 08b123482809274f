"""The contract's laws 1, 2 and 4 as checks of one network, for variants that have no file in configs/."""

import torch
from torch import Tensor

from s2s_lightning import BOS
from s2s_lightning.families.merged import MergedDecoder
from s2s_lightning.model import Seq2Seq, State, reorder, repeat
from tests.contract.conftest import TGT_VOCAB, batch_of, random_pairs


def check_pieces_make_the_whole(model: Seq2Seq) -> None:
    """Law 1: any split, and after reordering with repeated parents."""
    batch = batch_of(random_pairs(3))
    start = repeat(model.start(batch.src, batch.src_padding), 2)
    tgt_in = torch.randint(4, TGT_VOCAB, (6, 7))
    tgt_in[:, 0] = BOS
    parents = torch.tensor([1, 1, 2, 2, 5, 4])
    history = torch.cat([tgt_in[parents, :3], tgt_in[:, 3:]], 1)
    whole = model.step(history, start)
    for cuts in ([], [1], [1, 2]):
        past = _run(model, tgt_in[:, :3], start, cuts)[1]
        for rest in ([], [2], [1, 2, 3]):
            log_probs, _ = _run(model, tgt_in[:, 3:], reorder(past, parents), rest)
            torch.testing.assert_close(log_probs, whole.log_probs[:, 3:], rtol=0, atol=1e-10)


def _run(model: Seq2Seq, tgt_in: Tensor, state: State, cuts: list[int]) -> tuple[Tensor, State]:
    log_probs = []
    for piece in tgt_in.tensor_split(cuts, 1):
        step = model.step(piece, state)
        log_probs.append(step.log_probs)
        state = step.state
    return torch.cat(log_probs, 1), state


def check_padding_changes_nothing(model: Seq2Seq) -> None:
    """Law 2, encoder states, summary and log-probabilities; a padded batch against each sentence alone."""
    pairs = random_pairs(4)
    together = batch_of(pairs, padding=11)
    memory = model.encoder(model.src_embedding(together.src), together.src_padding)
    log_probs = model.log_probs(model.teacher_force(together))
    for row, pair in enumerate(pairs):
        alone = batch_of([pair])
        lone = model.encoder(model.src_embedding(alone.src), alone.src_padding)
        expected = model.log_probs(model.teacher_force(alone))
        s, t = alone.src.shape[1], alone.tgt_in.shape[1]
        torch.testing.assert_close(memory.states[row, :s], lone.states[0], rtol=0, atol=1e-10)
        torch.testing.assert_close(memory.summary[row], lone.summary[0], rtol=0, atol=1e-10)
        torch.testing.assert_close(log_probs[row, :t, : expected.shape[-1]], expected[0], rtol=0, atol=1e-10)


def check_causality(model: Seq2Seq) -> None:
    """Law 4: a target token leaves all before it bit-equal."""
    batch = batch_of(random_pairs(3))
    changed = batch.tgt_in.clone()
    changed[:, 3] = 4 + (changed[:, 3] - 3) % (TGT_VOCAB - 4)
    before = model.log_probs(model.teacher_force(batch))
    after = model.log_probs(model.teacher_force(batch._replace(tgt_in=changed)))
    assert torch.equal(before[:, :3], after[:, :3])
    assert not torch.equal(before[:, 3], after[:, 3])


def check_every_parameter_learns(model: Seq2Seq) -> None:
    """Law 4: a gradient that is not zero in the whole tensor, but for key biases, which softmax ignores."""
    batch = batch_of(random_pairs(4))
    model.cross_entropy(model.teacher_force(batch), batch.tgt_out, 0.1).sum.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert name.endswith("key.bias") or parameter.grad.abs().max() > 1e-9, name


def check_attention_is_a_distribution_over_real_tokens(model: Seq2Seq) -> None:
    """Law 12: asking for the weights changes nothing else."""
    batch = batch_of(random_pairs(4))
    output = model.teacher_force(batch, need_weights=True)
    attention = output.attention
    torch.testing.assert_close(output.hidden, model.teacher_force(batch).hidden, rtol=0, atol=1e-10)
    rows, _, _, length, source = attention.shape
    assert (rows, length, source) == (*batch.tgt_in.shape, batch.src.shape[1])
    total = attention.sum(-1)
    if isinstance(model.decoder, MergedDecoder):  # the rest is the target's
        assert 0 < total.min() <= total.max() < 1
    else:
        torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-12)
    assert (attention * batch.src_padding[:, None, None, None]).abs().max() == 0


LAWS = [
    check_pieces_make_the_whole,
    check_padding_changes_nothing,
    check_causality,
    check_every_parameter_learns,
    check_attention_is_a_distribution_over_real_tokens,
]
