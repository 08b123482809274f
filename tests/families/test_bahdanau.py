"""RNNsearch against a loop over the equations of its appendix, and the laws over its variants."""

import pytest
import torch
from torch import Tensor

from s2s_lightning.families.bahdanau import Bahdanau, BahdanauDecoder
from s2s_lightning.model import Memory, MemoryShape
from tests.families.recurrent import LENGTHS, assert_laws, source, target

SIZES = {"d_embedding": 6, "d_model": 8, "d_score": 5, "d_maxout": 7}


@pytest.mark.parametrize("num_layers", [1, 2])
def test_laws(num_layers: int) -> None:
    assert_laws(Bahdanau(17, 13, **SIZES, num_layers=num_layers).model)


@pytest.fixture
def decoder() -> BahdanauDecoder:
    return BahdanauDecoder(memory=MemoryShape(10, (1, 10)), **SIZES, dropout=0.5).double().eval()


@pytest.fixture
def memory() -> Memory:
    states = torch.randn(3, 5, 10, dtype=torch.float64)
    return Memory(states, states, source()[1], torch.randn(3, 1, 10, dtype=torch.float64))


def row_by_the_equations(p: dict[str, Tensor], states: Tensor, summary: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Maxout layer (T, M) and weights (T, S) of one sentence: A.1.2 and A.2.2, a matrix a gate.

    Args:
        p: the decoder's parameters.
        states: (S, D), real ones alone.
        summary: (D,).
        y: (T, E).
    """
    w_r, w_z, w = p["embedding.weight"].chunk(3)
    b_r, b_z, b = p["embedding.bias"].chunk(3)
    c_r, c_z, c_ = p["context.weight"].chunk(3)
    u_r, u_z, u = p["recurrent.weight"].chunk(3)
    s = torch.tanh(p["bridge.linear.weight"] @ summary + p["bridge.linear.bias"])
    hidden, weights = [], []
    for y_t in y:
        scores = [p["score.v"] @ torch.tanh(p["score.query.weight"] @ s + p["score.key.weight"] @ h) for h in states]
        weights.append(torch.stack(scores).softmax(0))
        c = weights[-1] @ states
        z = 1 - torch.sigmoid(w_z @ y_t + b_z + u_z @ s + c_z @ c)  # our gate keeps, the paper's renews
        r = torch.sigmoid(w_r @ y_t + b_r + u_r @ s + c_r @ c)
        s = (1 - z) * s + z * torch.tanh(w @ y_t + b + u @ (r * s) + c_ @ c)
        pairs = p["maxout.weight"] @ torch.cat([s, y_t, c]) + p["maxout.bias"]
        hidden.append(pairs.view(2, -1).amax(0))
    return torch.stack(hidden), torch.stack(weights)


def test_hidden_and_weights_are_those_of_the_papers_equations(decoder: BahdanauDecoder, memory: Memory) -> None:
    y = torch.randn(3, 4, 6, dtype=torch.float64)
    output = decoder(y, decoder.start(memory), need_weights=True)
    parameters = dict(decoder.named_parameters())
    for row, length in enumerate(LENGTHS):
        hidden, weights = row_by_the_equations(parameters, memory.states[row, :length], memory.summary[row, 0], y[row])
        torch.testing.assert_close(output.hidden[row], hidden, rtol=0, atol=1e-12)
        torch.testing.assert_close(output.attention[row, 0, 0, :, :length], weights, rtol=0, atol=1e-12)


def test_attention_is_a_distribution_over_the_real_source(decoder: BahdanauDecoder, memory: Memory) -> None:
    y = torch.randn(3, 4, 6, dtype=torch.float64)
    attention = decoder(y, decoder.start(memory), need_weights=True).attention
    assert attention.shape == (3, 1, 1, 4, 5)
    assert not attention.masked_select(memory.padding[:, None, None, None]).any()
    torch.testing.assert_close(attention.sum(-1), torch.ones(3, 1, 1, 4, dtype=torch.float64))


def test_bfloat16_autocast_trains() -> None:
    model = Bahdanau(11, **SIZES).model.train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        state = model.start(*source())
        for piece in target().split([1, 5], 1):
            log_probs, state, *_ = model.step(piece, state)
    log_probs.sum().backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in model.parameters())
