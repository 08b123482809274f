"""RNN, LSTM and GRU encoder-decoders against torch's own layers, and the laws over their variants."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from s2s_lightning.errors import UserError
from s2s_lightning.families.rnn import GRU, LSTM, RNN, RecurrentEncoder, _FixedContext
from s2s_lightning.nn.recurrence import KINDS, Cell, Recurrence
from tests.families.recurrent import LENGTHS, assert_laws, source

SIZES = {"d_embedding": 6, "d_model": 8}
FAMILIES = [RNN, LSTM, GRU]
FUSED = [cell for cell, kind in KINDS.items() if kind.fused]


def torch_state(cell: Cell, last: Tensor | tuple[Tensor, Tensor]) -> Tensor:
    """A last state of torch, without a batch, as (N, H)."""
    return torch.cat(last) if cell == "lstm" else last


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("family", FAMILIES)
def test_laws(family: type[_FixedContext], num_layers: int, direction: str) -> None:
    assert_laws(family(17, **SIZES, num_layers=num_layers, direction=direction).model)


@pytest.mark.parametrize("cell", FUSED)
def test_each_row_is_read_as_torch_reads_it_alone(cell: Cell) -> None:
    encoder = RecurrentEncoder(6, cell, 8, 2, direction="forward", dropout=0.0)
    reference = KINDS[cell].layers(6, 8, 2, batch_first=True)
    reference.load_state_dict(encoder.recurrence.rnn.state_dict())
    x, padding = torch.randn(3, 5, 6), source()[1]
    memory = encoder(x, padding)
    for row, length in enumerate(LENGTHS):
        states, last = reference(x[row, :length])
        torch.testing.assert_close(memory.states[row, :length], states, rtol=0, atol=1e-5)
        torch.testing.assert_close(memory.summary[row], torch_state(cell, last), rtol=0, atol=1e-5)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", FUSED)
def test_the_unrolled_layers_are_the_packed_ones(cell: Cell, bidirectional: bool) -> None:
    layers = Recurrence(cell, 6, 8, 2, bidirectional=bidirectional).double()
    for bias in (p for name, p in layers.named_parameters() if "bias" in name):
        torch.nn.init.normal_(bias)
    x, padding = torch.randn(3, 7, 6, dtype=torch.float64, requires_grad=True), source(padding=2)[1]

    def values_and_gradients(read: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> list[Tensor]:
        outputs, state = read(x, padding)
        loss = outputs.square().sum() + state.square().sum()
        return [outputs, state, *torch.autograd.grad(loss, [x, *layers.parameters()])]

    for ours, reference in zip(*map(values_and_gradients, (layers.read_unrolled, layers.read_packed)), strict=True):
        torch.testing.assert_close(ours, reference, rtol=0, atol=1e-12)


@pytest.mark.parametrize("cell", FUSED)
def test_backward_is_the_reversed_source(cell: Cell) -> None:
    encoder = RecurrentEncoder(6, cell, 8, 2, direction="backward", dropout=0.0).double()
    x, padding = torch.randn(3, 5, 6, dtype=torch.float64), source()[1]
    memory = encoder(x, padding)
    for row, length in enumerate(LENGTHS):
        states, last = encoder.recurrence.rnn(x[row, :length].flip(0))
        torch.testing.assert_close(memory.states[row, :length], states.flip(0), rtol=0, atol=1e-12)
        torch.testing.assert_close(memory.summary[row], torch_state(cell, last), rtol=0, atol=1e-12)


def test_a_bidirectional_summary_has_both_directions_of_each_layer_side_by_side() -> None:
    encoder = RecurrentEncoder(6, "lstm", 8, 2, direction="both", dropout=0.0)
    x, padding = torch.randn(1, 5, 6), torch.zeros(1, 5, dtype=torch.bool)
    memory = encoder(x, padding)
    _, (h, c) = encoder.recurrence.rnn(x)
    expected = torch.stack([torch.cat([*pair], -1) for pair in (h[:2], h[2:], c[:2], c[2:])], 1)
    torch.testing.assert_close(memory.summary, expected)
    torch.testing.assert_close(memory.states[:, -1, :4], memory.summary[:, 1, :4])
    torch.testing.assert_close(memory.states[:, 0, 4:], memory.summary[:, 1, 4:])


def test_an_odd_width_for_two_directions_is_refused() -> None:
    with pytest.raises(UserError, match="d_model=7"):
        LSTM(11, d_embedding=6, d_model=7, direction="both")


@pytest.mark.parametrize("family", [RNN, LSTM])
def test_the_decoder_starts_from_the_encoders_last_state(family: type[_FixedContext]) -> None:
    model = family(11, **SIZES).model.eval()
    src, padding = source()
    reference = KINDS[family.cell].layers(6, 8, 2, batch_first=True)
    reference.load_state_dict(model.decoder.recurrence.rnn.state_dict())
    y = torch.randn(3, 4, 6)
    memory = model.encoder(model.src_embedding(src), padding)
    for row in range(3):
        halves = memory.summary[row].chunk(2) if family is LSTM else memory.summary[row]
        expected, _ = reference(y[row], halves)
        hidden = model.decoder(y, model.decoder.start(memory)).hidden[row]
        torch.testing.assert_close(hidden, expected, rtol=0, atol=1e-5)


def test_the_gru_decoder_reads_the_fixed_vector_at_every_step() -> None:
    model = GRU(11, **SIZES, num_layers=1).model.double().eval()
    src, padding = source()
    memory = model.encoder(model.src_embedding(src), padding)
    y = torch.randn(3, 4, 6, dtype=torch.float64)
    bridge, layer = model.decoder.context.linear, nn.GRUCell(14, 8).double()
    layer.load_state_dict({k.removesuffix("_l0"): v for k, v in model.decoder.recurrence.rnn.state_dict().items()})
    context = h = torch.tanh(memory.summary[:, 0] @ bridge.weight.T + bridge.bias)
    hidden = model.decoder(y, model.decoder.start(memory)).hidden
    for t in range(4):
        h = layer(torch.cat([y[:, t], context], -1), h)
        torch.testing.assert_close(hidden[:, t], h, rtol=0, atol=1e-12)


def test_forget_gates_start_at_one_and_recurrent_matrices_orthogonal() -> None:
    lstm = Recurrence("lstm", 6, 8, 2).rnn
    for w_input, w_recurrent, b_input, b_recurrent in lstm.all_weights:
        i, f, g, o = (b_input + b_recurrent).chunk(4)
        assert (f == 1).all()
        assert not torch.cat([i, g, o]).any()
        for gate in w_recurrent.chunk(4):
            torch.testing.assert_close(gate @ gate.T, torch.eye(8))
        assert w_input.std() > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_autocast_runs_in_any_pieces(family: type[_FixedContext]) -> None:
    model = family(11, **SIZES).model.train()
    src, padding = source()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        state = model.start(src, padding)
        for piece in torch.randint(4, 11, (3, 4)).split([1, 3], 1):
            log_probs, state, *_ = model.step(piece, state)
    log_probs.sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
