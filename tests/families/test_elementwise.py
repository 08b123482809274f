"""The blocks around element-wise recurrences: parity with torch's parts, memory, and other families' decoders."""

import pytest
import torch
from torch import Tensor, nn

from s2s_lightning.checkpoints.checkpoint import instantiate
from s2s_lightning.errors import UserError
from s2s_lightning.families import QRNN, SRU, IndRNN, MinGRU, MinLSTM
from s2s_lightning.families.elementwise import BlockDecoder, BlockEncoder
from s2s_lightning.model import Memory, Seq2Seq, tree_map
from s2s_lightning.testing import SRC_VOCAB, TGT_VOCAB, batch_of, random_pairs
from s2s_lightning.training.module import Seq2SeqModule
from tests.families.laws import LAWS
from tests.families.test_transformer import copy_cross_attention, perturb

SIZES = {"d_model": 8, "num_heads": 2, "d_ff": 12, "num_encoder_layers": 2, "num_decoder_layers": 2}


def build() -> Seq2Seq:
    """A model in float64 with no parameter at 0 or 1."""
    torch.manual_seed(0)
    model = MinGRU(SRC_VOCAB, TGT_VOCAB, **SIZES).double().eval().model
    perturb(model)
    return model


def feed(block: nn.Module, x: Tensor) -> Tensor:
    """The second half of a block, from x to x."""
    inner, outer = block.feed_forward.inner, block.feed_forward.outer
    return x + outer(inner(block.feed_forward_residual.norm(x)).relu())


def encode(encoder: BlockEncoder, x: Tensor) -> Tensor:
    """One sentence without padding."""
    for block in encoder.layers:
        start = torch.zeros(1, 8, dtype=x.dtype)
        x = feed(block, x + block.recurrence(block.recurrence_residual.norm(x), start)[0])
    return encoder.norm(x)


def decode(decoder: BlockDecoder, y: Tensor, states: Tensor) -> Tensor:
    """One sentence, attention by torch's module."""
    for block in decoder.layers:
        attention = nn.MultiheadAttention(8, 2, batch_first=True, dtype=y.dtype)
        with torch.no_grad():
            copy_cross_attention(block.cross_attention, attention)
        start = torch.zeros(1, 8, dtype=y.dtype)
        y = y + block.recurrence(block.recurrence_residual.norm(y), start)[0]
        y = feed(block, y + attention(block.cross_attention_residual.norm(y), states, states)[0])
    return decoder.norm(y)


def test_blocks_are_pre_norm_residuals_around_their_parts() -> None:
    model = build()
    x, y = torch.randn(2, 6, 8, dtype=torch.float64), torch.randn(2, 5, 8, dtype=torch.float64)
    padding = torch.arange(6) >= torch.tensor([[6], [2]])
    memory: Memory = model.encoder(x, padding)
    hidden = model.decoder(y, model.decoder.start(memory)).hidden
    for row, length in enumerate([6, 2]):
        one = slice(row, row + 1)
        states = encode(model.encoder, x[one, :length])
        torch.testing.assert_close(memory.states[one, :length], states, rtol=0, atol=1e-12)
        torch.testing.assert_close(hidden[one], decode(model.decoder, y[one], states), rtol=0, atol=1e-12)


@pytest.mark.parametrize("family", [QRNN, SRU, IndRNN, MinGRU, MinLSTM])
def test_the_memory_of_a_decoding_step_does_not_grow(family: type[Seq2SeqModule]) -> None:
    model = family(SRC_VOCAB, TGT_VOCAB, d_model=8).eval().model
    batch = batch_of(random_pairs(3))
    state = model.start(batch.src, batch.src_padding)
    sizes = tree_map(lambda x: torch.tensor(x.shape), state.carry)
    for length in (1, 7, 1):
        state = model.step(torch.full((3, length), 5), state).state
        assert str(tree_map(lambda x: torch.tensor(x.shape), state.carry)) == str(sizes)


@pytest.mark.parametrize("layer", ["minrnn.MinLSTMLayer", "sru.SRULayer", "indrnn.IndRNNLayer"])
def test_a_recurrence_is_named_by_its_class_path_in_a_hybrid(layer: str) -> None:
    recurrence = {"class_path": f"s2s_lightning.families.{layer}"}
    encoder = {
        "class_path": "s2s_lightning.families.elementwise.BlockEncoder",
        "init_args": {"num_layers": 2, "new_recurrence": recurrence, "blocks": {"num_heads": 2, "d_ff": 12}},
    }
    decoder = {"class_path": "s2s_lightning.families.qrnn.QRNNDecoder", "init_args": {"d_model": 8}}
    sizes = {"src_vocab_size": SRC_VOCAB, "tgt_vocab_size": TGT_VOCAB, "d_embedding": 8}
    spec = {
        "class_path": "s2s_lightning.families.Hybrid",
        "init_args": {**sizes, "encoder": encoder, "decoder": decoder},
    }
    torch.manual_seed(0)
    model = instantiate(spec, Seq2SeqModule).double().eval().model
    for law in LAWS:
        law.check(model)


@pytest.mark.parametrize("num_heads", [1, 2])
def test_a_width_that_heads_or_directions_cannot_share_is_refused(num_heads: int) -> None:
    with pytest.raises(UserError, match=f"d_model=9 must be even and a multiple of num_heads={num_heads}"):
        MinGRU(SRC_VOCAB, d_model=9, num_heads=num_heads)
