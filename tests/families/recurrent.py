"""Laws 1, 2 and 4 for a recurrent network on random ids, shared by the tests of its families."""

import torch
from torch import Tensor

from s2s_lightning import BOS, EOS, PAD
from s2s_lightning.architecture import Seq2Seq, reorder, repeat

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


def assert_pieces_are_one_call(model: Seq2Seq) -> None:
    """Law 1, with repeated parents between two pieces."""
    src, src_padding = source()
    first, second = target(), target().roll(1, 0)
    parents = torch.tensor([1, 1, 2, 2, 5, 4])
    state = repeat(model.start(src, src_padding), 2)
    head = torch.cat([first, second])[:, :3]
    tail = torch.cat([second, first])[:, 3:]
    for piece in head.split([1, 2], 1):
        state = model.step(piece, state).state
    state = reorder(state, parents)
    pieces = []
    for piece in tail.split(1, 1):
        log_probs, state, _ = model.step(piece, state)
        pieces.append(log_probs)
    whole = model.step(torch.cat([head[parents], tail], 1), repeat(model.start(src, src_padding), 2)).log_probs
    torch.testing.assert_close(torch.cat(pieces, 1), whole[:, 3:], rtol=0, atol=1e-10)


def assert_padding_changes_nothing(model: Seq2Seq) -> None:
    """Law 2."""
    torch.testing.assert_close(logits(model, target(), padding=4), logits(model, target()), rtol=0, atol=1e-10)


def assert_causal(model: Seq2Seq) -> None:
    """Law 4: what comes later changes nothing before it."""
    other = target()
    other[:, 3] = 4 + (other[:, 3] - 3) % 7
    one, two = logits(model, target()), logits(model, other)
    assert torch.equal(one[:, :3], two[:, :3])
    assert not torch.equal(one[:, 3], two[:, 3])


def assert_laws(model: Seq2Seq) -> None:
    model = model.double().eval()
    with torch.no_grad():
        assert_pieces_are_one_call(model)
        assert_padding_changes_nothing(model)
        assert_causal(model)
