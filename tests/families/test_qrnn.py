"""QRNN against its equations, a sentence and a step at a time, and the laws for its variants."""

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from s2s_lightning.errors import UserError
from s2s_lightning.families.qrnn import QRNN, QRNNDecoder, QRNNEncoder, QRNNLayer
from s2s_lightning.model import Memory, MemoryShape, Seq2Seq
from s2s_lightning.testing import SRC_VOCAB, TGT_VOCAB, Law
from tests.families.elementwise import halves
from tests.families.laws import LAWS
from tests.families.test_transformer import perturb

LENGTHS = (5, 1, 3)


def pool(layer: QRNNLayer, linear: nn.Module, x: Tensor, shift: Tensor | float = 0.0) -> tuple[Tensor, Tensor]:
    """Cells and output gates (T, ...) of one sentence x (T, E), read forwards by one of the layer's convolutions."""
    k = layer.past[0] + 1
    padded = torch.cat([torch.zeros(k - 1, x.shape[1], dtype=x.dtype), x])
    c, cells, gates = 0.0, [], []
    for t in range(len(x)):
        z, f, o = (linear.weight @ padded[t : t + k].flatten() + linear.bias + shift).chunk(3)
        c = torch.sigmoid(f) * c + (1 - torch.sigmoid(f)) * torch.tanh(z)
        cells.append(c)
        gates.append(torch.sigmoid(o))
    return torch.stack(cells), torch.stack(gates)


def encode(encoder: QRNNEncoder, x: Tensor, direction: str) -> tuple[Tensor, Tensor]:
    """States (S, D) of the last layer and the last states (L, D) of all, of one sentence."""
    h, summary = x.flip(0) if direction == "backward" else x, []
    for layer in encoder.layers:
        cells, gates = pool(layer, layer.linears[0], h)
        if direction == "both":
            cells_back, gates_back = pool(layer, layer.linears[1], h.flip(0))
            back = (cells_back * gates_back).flip(0)
            h = torch.cat([cells * gates, back], -1)
            summary.append(halves(h[-1], h[0]))
        else:
            h = cells * gates
            summary.append(h[-1])
    return (h.flip(0) if direction == "backward" else h), torch.stack(summary)


def decode(decoder: QRNNDecoder, y: Tensor, states: Tensor, summary: Tensor) -> tuple[Tensor, Tensor]:
    """Hidden states (T, D) and weights (T, S) of one sentence."""
    h = y
    for layer, shift, last in zip(decoder.layers, decoder.shifts, summary, strict=True):
        cells, gates = pool(layer, layer.linears[0], h, shift.weight @ last)
        h = cells * gates
    hidden, weights = [], []
    for c, o in zip(cells, gates, strict=True):
        a = torch.stack([c @ s for s in states]).softmax(0)
        k = sum(weight * s for weight, s in zip(a, states, strict=True))
        hidden.append(o * (decoder.value.weight @ k + decoder.cell.weight @ c))
        weights.append(a)
    return torch.stack(hidden), torch.stack(weights)


@pytest.mark.parametrize(("direction", "kernel_size"), list(product(["forward", "backward", "both"], [1, 2, 3])))
def test_qrnn_computes_its_equations(direction: str, kernel_size: int) -> None:
    torch.manual_seed(0)
    encoder = QRNNEncoder(6, 8, 2, kernel_size=kernel_size, direction=direction).double().eval()
    decoder = QRNNDecoder(6, encoder.shape, 8, 2, kernel_size=kernel_size).double().eval()
    perturb(encoder)
    perturb(decoder)
    x, y = torch.randn(3, 5, 6, dtype=torch.float64), torch.randn(3, 4, 6, dtype=torch.float64)
    memory: Memory = encoder(x, torch.arange(5) >= torch.tensor(LENGTHS)[:, None])
    output = decoder(y, decoder.start(memory), need_weights=True)
    for row, length in enumerate(LENGTHS):
        states, summary = encode(encoder, x[row, :length], direction)
        hidden, weights = decode(decoder, y[row], states, summary)
        torch.testing.assert_close(memory.states[row, :length], states, rtol=0, atol=1e-12)
        torch.testing.assert_close(memory.summary[row], summary, rtol=0, atol=1e-12)
        torch.testing.assert_close(output.hidden[row], hidden, rtol=0, atol=1e-12)
        torch.testing.assert_close(output.attention[row, 0, 0, :, :length], weights, rtol=0, atol=1e-12)


def build(**options: Any) -> Seq2Seq:
    torch.manual_seed(0)
    return QRNN(SRC_VOCAB, TGT_VOCAB, d_embedding=6, d_model=8, **options).double().eval().model


@pytest.mark.parametrize("law", LAWS, ids=str)
@pytest.mark.parametrize("options", [{"direction": "forward", "kernel_size": 3}, {"direction": "backward"},
                                     {"kernel_size": 1, "num_layers": 1}], ids=str)  # fmt: skip
def test_every_variant_keeps_the_law(law: Law, options: dict[str, Any]) -> None:
    law.check(build(**options))


def test_an_encoder_of_fewer_layers_lends_its_last_state_to_the_others() -> None:
    assert QRNNDecoder(6, MemoryShape(8, (2, 5)), 8, 4).sources == [0, 1, 1, 1]


def test_states_of_another_width_are_refused() -> None:
    with pytest.raises(UserError, match="8 != 10"):
        QRNNDecoder(6, MemoryShape(10, (1, 10)), 8)
