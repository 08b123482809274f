"""|dL/dh_t| against explicit loops, cut recurrences and finite differences, in float64."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from s2s_lightning import families
from s2s_lightning.callbacks.diagnostics.through_time import decoder_norms, encoder_norms
from s2s_lightning.model import Batch, Seq2Seq, State, tree_map
from s2s_lightning.nn import gradient_taps
from s2s_lightning.training.module import Seq2SeqModule

V, S, T = 11, 5, 4

BLOCKS = {"d_model": 4, "num_heads": 2, "d_ff": 6, "num_encoder_layers": 1, "num_decoder_layers": 1}
SMALL: dict[str, Callable[[], Seq2SeqModule]] = {
    "rnn": lambda: families.RNN(V, d_embedding=3, d_model=4, num_layers=2),
    "lstm backward": lambda: families.LSTM(V, d_embedding=3, d_model=4, num_layers=1, direction="backward"),
    "gru both": lambda: families.GRU(V, d_embedding=3, d_model=4, num_layers=1, direction="both"),
    "gru reset before": lambda: families.GRU(V, d_embedding=3, d_model=4, num_layers=1, reset="before"),
    "bahdanau": lambda: families.Bahdanau(V, d_embedding=3, d_model=2, d_score=3, d_maxout=4),
    "luong": lambda: families.Luong(V, d_embedding=3, d_model=4, num_layers=1),
    "gnmt": lambda: families.GNMT(V, d_embedding=3, d_model=4, d_score=3, num_layers=2),
    "indrnn": lambda: families.IndRNN(V, **BLOCKS),
    "sru": lambda: families.SRU(V, **BLOCKS),
    "minlstm": lambda: families.MinLSTM(V, **BLOCKS),
    "qrnn": lambda: families.QRNN(V, d_embedding=3, d_model=4, num_layers=1),
}
RECURRENT = sorted(SMALL)


def network(name: str) -> Seq2Seq:
    torch.manual_seed(0)
    return SMALL[name]().model.double().eval()


def sentence() -> Batch:
    generator = torch.Generator().manual_seed(1)
    src, tgt = (torch.randint(4, V, (1, length), generator=generator) for length in (S, T))
    padding = torch.zeros_like(src, dtype=torch.bool)
    return Batch(src, padding, tgt.roll(1, 1), tgt, torch.tensor(float(T)), torch.tensor([0]))


def mean_loss(model: Seq2Seq, batch: Batch, state: State) -> Tensor:
    log_probs = model.log_probs(model(batch.tgt_in, state))
    return -log_probs.gather(-1, batch.tgt_out.unsqueeze(-1)).mean()


@pytest.mark.parametrize("family", [families.RNN, families.LSTM, families.GRU])
def test_encoder_norms_are_those_of_a_fused_recurrence_cut_at_each_step(family: type[Seq2SeqModule]) -> None:
    torch.manual_seed(0)
    model, batch = family(V, d_embedding=3, d_model=4, num_layers=1).model.double().eval(), sentence()
    recurrence: Any = model.encoder.recurrence
    x, norms = model.src_embedding(batch.src), []
    for t in range(1, S + 1):
        _, state = recurrence(x[:, :t], x.new_zeros(1, *recurrence.state_shape))
        state = state.detach().requires_grad_()
        states, last = recurrence(x[:, t:], state) if t < S else (x, state)
        memory = model.encoder(x, batch.src_padding)._replace(states=states, values=states, summary=last)
        start = model.decoder.start(memory)
        loss = mean_loss(model, batch, State((start.context, batch.src), start.carry))
        norms.append(torch.autograd.grad(loss, state)[0].norm())
    assert torch.allclose(encoder_norms(model, batch), torch.stack(norms).flip(0), rtol=1e-9, atol=0)


def test_encoder_norms_of_an_elman_network_are_products_of_jacobians() -> None:
    """dL/dh_{t-1} = U' diag(1 - h_t^2) dL/dh_t (Pascanu et al., 2013)."""
    torch.manual_seed(0)
    model, batch = families.RNN(V, d_embedding=3, d_model=4, num_layers=1).model.double().eval(), sentence()
    memory = model.encoder(model.src_embedding(batch.src), batch.src_padding)
    last = memory.summary.detach().requires_grad_()
    start = model.decoder.start(memory._replace(summary=last))
    loss = mean_loss(model, batch, State((start.context, batch.src), start.carry))
    gradient, u = torch.autograd.grad(loss, last)[0][0, 0], model.encoder.recurrence.rnn.weight_hh_l0.detach()
    norms = [gradient.norm()]
    for h in memory.states[0].detach().flip(0)[:-1]:
        gradient = u.t() @ ((1 - h**2) * gradient)
        norms.append(gradient.norm())
    assert torch.allclose(encoder_norms(model, batch), torch.stack(norms), rtol=1e-9, atol=0)


class Pushed(gradient_taps.Trace):
    """Adds ``push`` to one number of the state after one step, and counts what there is to push."""

    place: tuple[int, int] | None = None
    push = 0.0

    def __call__(self, state: Any) -> Any:
        state, step = super().__call__(state), len(self.zeros) - 1
        if self.place is None or self.place[0] != step:
            return state
        number = self.place[1]
        leaves = state if isinstance(state, tuple) else (state,)
        pushed = []
        for leaf in leaves:
            flat = leaf.flatten().clone()
            if 0 <= number < len(flat):
                flat[number] += self.push
            number -= len(flat)
            pushed.append(flat.view_as(leaf))
        return tuple(pushed) if isinstance(state, tuple) else pushed[0]


@contextmanager
def pushing(trace: int, place: tuple[int, int], push: float, patch: pytest.MonkeyPatch) -> Iterator[None]:
    traces: list[Pushed] = []

    def new_trace() -> Pushed:
        traces.append(Pushed())
        if len(traces) - 1 == trace:
            traces[-1].place, traces[-1].push = place, push
        return traces[-1]

    with gradient_taps.watched(), patch.context() as patched:
        patched.setattr(gradient_taps, "new_trace", new_trace)
        yield


@pytest.mark.parametrize("name", RECURRENT)
def test_encoder_norms_are_the_limit_of_finite_differences(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch, small = network(name), sentence(), 1e-5
    with gradient_taps.watched() as traces:
        model.start(batch.src, batch.src_padding)

    @torch.no_grad()
    def loss(trace: int, place: tuple[int, int], push: float) -> float:
        with pushing(trace, place, push, monkeypatch):
            state = model.start(batch.src, batch.src_padding)
        return mean_loss(model, batch, state).item()

    squares = torch.zeros(S, dtype=torch.float64)
    for i, trace in enumerate(traces):
        for t, zeros in enumerate(trace.zeros):
            for number in range(sum(zero.numel() for zero in zeros)):
                squares[t] += ((loss(i, (t, number), small) - loss(i, (t, number), -small)) / (2 * small)) ** 2
    assert torch.allclose(encoder_norms(model, batch), squares.sqrt().flip(0), rtol=1e-5, atol=1e-9)


def floats(tree: Any) -> list[Tensor]:
    found: list[Tensor] = []
    tree_map(lambda x: found.append(x) if x.is_floating_point() else None, tree)
    return found


@pytest.mark.parametrize("name", RECURRENT)
def test_decoder_norms_are_those_of_a_carry_cut_at_each_step(name: str) -> None:
    model, batch = network(name), sentence()
    found: dict[int, list[Tensor]] = {}
    for t in range(1, T):
        before = model(batch.tgt_in[:, :t], model.start(batch.src, batch.src_padding)).state
        carry = tree_map(lambda x: x.detach().requires_grad_() if x.is_floating_point() else x, before.carry)
        log_probs = model.log_probs(model(batch.tgt_in[:, t:], State(before.context, carry)))[0]
        for k in range(t, T):
            loss = -log_probs[k - t, batch.tgt_out[0, k]]
            gradients = torch.autograd.grad(loss, floats(carry), retain_graph=True, materialize_grads=True)
            found.setdefault(k - t + 1, []).append(torch.cat([g.flatten() for g in gradients]).norm())
    expected = torch.stack([torch.stack(found[d]).mean() for d in range(1, T)])
    assert torch.allclose(decoder_norms(model, batch), expected, rtol=1e-9, atol=1e-15)


def test_in_a_transformer_nothing_recurs() -> None:
    model = families.Transformer(V, **BLOCKS).model.eval()
    assert encoder_norms(model, sentence()) is None
    assert decoder_norms(model, sentence()) is None


def test_a_mixer_read_stepwise_gives_the_states_of_one_call() -> None:
    torch.manual_seed(0)
    model, batch = families.RetNet(V, **BLOCKS).model.double().eval(), sentence()
    at_once = model.start(batch.src, batch.src_padding)
    with gradient_taps.watched() as traces:
        stepwise = model.start(batch.src, batch.src_padding)
    assert {len(trace.zeros) for trace in traces} == {S}
    for one, other in zip(floats(at_once.context), floats(stepwise.context), strict=True):
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-12)
    assert decoder_norms(model, batch).all()


def test_nobody_is_watched_afterwards_and_gradients_stay_what_they_were() -> None:
    model, batch = network("lstm backward"), sentence()
    with torch.inference_mode():  # as in validation
        encoder_norms(model, batch)
        decoder_norms(model, batch)
    assert not gradient_taps.is_watched()
    assert all(p.grad is None for p in model.parameters())
