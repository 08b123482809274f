"""GNMT against a loop over the equations of its paper, and the laws over its depths."""

import pytest
import torch
from torch import Tensor, nn

from s2s_lightning.errors import UserError
from s2s_lightning.families.gnmt import GNMT, GNMTDecoder, GNMTEncoder
from s2s_lightning.model import Memory, MemoryShape
from s2s_lightning.nn.recurrence import Recurrence
from s2s_lightning.testing import Law
from tests.families.laws import LAWS
from tests.families.recurrent import LENGTHS, assert_laws, source


@pytest.mark.parametrize("num_layers", [1, 2, 4])
def test_laws(num_layers: int) -> None:
    assert_laws(GNMT(17, 13, d_embedding=6, d_model=8, d_score=5, num_layers=num_layers).model)


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_laws_of_the_contract(law: Law) -> None:
    law.check(GNMT(17, 13, d_embedding=6, d_model=8, d_score=5, num_layers=3).double().eval().model)


def cell(layer: Recurrence, side: int = 0) -> nn.LSTMCell:
    """One direction of a layer as torch's cell, one step of one sentence at a time."""
    w, u, b, b_u = layer.rnn.all_weights[side]
    made = nn.LSTMCell(w.shape[1], u.shape[1]).double()
    made.load_state_dict({"weight_ih": w, "weight_hh": u, "bias_ih": b, "bias_hh": b_u})
    return made


def run(layer: nn.LSTMCell, xs: list[Tensor]) -> tuple[list[Tensor], tuple[Tensor, Tensor]]:
    """All h of a sequence from zeros, and the last h and c."""
    state = (torch.zeros(layer.hidden_size, dtype=torch.float64),) * 2
    outputs = []
    for x in xs:
        state = layer(x, state)
        outputs.append(state[0])
    return outputs, state


def test_the_encoder_is_the_papers_stack() -> None:
    encoder = GNMTEncoder(6, 8, 4, dropout=0.5).double().eval()
    x, padding = torch.randn(3, 5, 6, dtype=torch.float64), source()[1]
    memory = encoder(x, padding)
    for row, length in enumerate(LENGTHS):
        xs = list(x[row, :length])
        ahead, last = run(cell(encoder.layers[0]), xs)
        back, last_back = run(cell(encoder.layers[0], 1), xs[::-1])
        x1 = [torch.cat(pair) for pair in zip(ahead, back[::-1], strict=True)]
        x2, last2 = run(cell(encoder.layers[1]), x1)
        m3, last3 = run(cell(encoder.layers[2]), x2)
        x3 = [m + x for m, x in zip(m3, x2, strict=True)]
        m4, last4 = run(cell(encoder.layers[3]), x3)
        x4 = torch.stack([m + x for m, x in zip(m4, x3, strict=True)])
        torch.testing.assert_close(memory.states[row, :length], x4, rtol=0, atol=1e-12)
        h, c = zip(
            tuple(torch.cat(pair) for pair in zip(last, last_back, strict=True)), last2, last3, last4, strict=True
        )
        torch.testing.assert_close(memory.summary[row], torch.stack(h + c), rtol=0, atol=1e-12)


def test_the_decoder_is_the_papers_stack() -> None:
    decoder = GNMTDecoder(6, MemoryShape(10, (8, 8)), 8, 4, d_score=5, dropout=0.5).double().eval()
    states, values = torch.randn(2, 3, 5, 10, dtype=torch.float64)
    memory = Memory(states, values, source()[1], torch.randn(3, 8, 8, dtype=torch.float64))
    y = torch.randn(3, 4, 6, dtype=torch.float64)
    output = decoder(y, decoder.start(memory), need_weights=True)
    cells, p = [cell(layer) for layer in decoder.layers], dict(decoder.named_parameters())
    for row, length in enumerate(LENGTHS):
        vectors = list(zip(memory.summary[row, :4], memory.summary[row, 4:], strict=True))
        for t in range(4):
            bottom = vectors[0][0]
            scores = [
                p["score.v"] @ torch.tanh(p["score.query.weight"] @ bottom + p["score.key.weight"] @ s)
                for s in states[row, :length]
            ]
            weights = torch.stack(scores).softmax(0)
            a = weights @ values[row, :length]
            x = y[row, t]
            for i in range(4):
                vectors[i] = cells[i](torch.cat([x, a]), vectors[i])
                x = vectors[i][0] + x if i >= 2 else vectors[i][0]
            torch.testing.assert_close(output.hidden[row, t], x, rtol=0, atol=1e-12)
            torch.testing.assert_close(output.attention[row, 0, 0, t, :length], weights, rtol=0, atol=1e-12)


def test_an_odd_width_for_two_directions_is_refused() -> None:
    with pytest.raises(UserError, match="d_model=7"):
        GNMT(11, d_embedding=6, d_model=7)
