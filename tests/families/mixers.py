"""What every ``Mixer`` promises, and every decoder that carries states instead of a cache."""

from typing import Any

import torch
from torch import Tensor

from s2s_lightning.architecture import Seq2Seq, tree_map
from s2s_lightning.nn.mixer import Mixer
from tests.contract.conftest import TGT_VOCAB, batch_of, random_pairs


def leaves(tree: Any) -> list[Tensor]:
    found: list[Tensor] = []
    tree_map(lambda x: found.append(x) or x, tree)
    return found


def assert_mixer_keeps_its_contract(mixer: Mixer) -> None:
    """Any split is one call, and padding behind or in front changes neither outputs nor what comes after."""
    torch.manual_seed(1)
    x = torch.randn(3, 40, mixer.d_model, dtype=torch.float64)
    whole, end = mixer(x, mixer.start(3, x))
    for cuts in ([1], [3, 35], list(range(1, 40))):
        outputs, carry = [], mixer.start(3, x)
        for piece in x.tensor_split(cuts, 1):
            y, carry = mixer(piece, carry)
            outputs.append(y)
        torch.testing.assert_close(torch.cat(outputs, 1), whole, rtol=0, atol=1e-10)
        for a, b in zip(leaves(carry), leaves(end), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-10)
    behind = torch.arange(40) >= torch.tensor([[40], [7], [1]])
    for padding in (behind, behind.flip(1)):
        y, carry = mixer(x, mixer.start(3, x), padding)
        then, _ = mixer(x[:, :5], carry)
        for row in range(3):
            real = x[row : row + 1, ~padding[row]]
            alone, carry = mixer(real, mixer.start(1, x))
            torch.testing.assert_close(y[row : row + 1, ~padding[row]], alone, rtol=0, atol=1e-10)
            after, _ = mixer(x[row : row + 1, :5], carry)
            torch.testing.assert_close(then[row : row + 1], after, rtol=0, atol=1e-10)


def assert_decoding_needs_constant_memory(model: Seq2Seq) -> None:
    """The carry after 50 tokens is as large as that after one."""
    batch = batch_of(random_pairs(3))
    state = model.start(batch.src, batch.src_padding)
    sizes = []
    for tokens in torch.randint(4, TGT_VOCAB, (3, 50)).split(1, 1):
        state = model.step(tokens, state).state
        sizes.append([(x.shape, x.untyped_storage().nbytes()) for x in leaves(state.carry)])
    assert len(sizes[0]) > 0
    assert all(size == sizes[0] for size in sizes)
