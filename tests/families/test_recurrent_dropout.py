"""Recurrent dropout: one mask a sequence, in each family that has it, and the GRU of the paper."""

from typing import Any

import pytest
import torch
from torch import Tensor

from s2s_lightning.families import GNMT, GRU, LSTM, RNN, Bahdanau, Luong
from s2s_lightning.nn.dropout import RecurrentDropout
from s2s_lightning.nn.recurrence import KINDS, Cell, Recurrence
from s2s_lightning.testing.target_laws import reordering
from s2s_lightning.training.module import Seq2SeqModule
from tests.families.recurrent import LENGTHS, assert_laws, logits, source, target

SIZES = {"d_embedding": 6, "d_model": 8}
MODELS: dict[str, tuple[type[Seq2SeqModule], dict[str, Any]]] = {
    "rnn": (RNN, {"num_layers": 2}),
    "lstm": (LSTM, {"num_layers": 2, "direction": "both"}),
    "gru": (GRU, {"num_layers": 2}),
    "gru, reset before": (GRU, {"reset": "before", "num_layers": 2}),
    "bahdanau": (Bahdanau, {"d_score": 5, "d_maxout": 7}),
    "luong": (Luong, {"input_feeding": False}),
    "luong, fed": (Luong, {"input_feeding": True, "window": "predictive"}),
    "gnmt": (GNMT, {"d_score": 5}),
}
every_model = pytest.mark.parametrize("name", MODELS)


def network(name: str, recurrent_dropout: float) -> Seq2SeqModule:
    """In float64 and training mode, with no other dropout; the weights are those of the same seed."""
    family, settings = MODELS[name]
    torch.manual_seed(0)
    rates = {"dropout": 0.0, "recurrent_dropout": recurrent_dropout}
    return family(17, 13, **SIZES, **settings, **rates).double().train()


@every_model
def test_in_training_any_split_gives_one_call_from_the_same_state(name: str) -> None:
    reordering(network(name, 0.5).model)


@every_model
def test_two_starts_draw_two_masks_and_evaluation_none(name: str) -> None:
    dropped, plain = network(name, 0.5), network(name, 0.0)
    assert not torch.equal(logits(dropped.model, target()), logits(dropped.model, target()))
    torch.testing.assert_close(logits(dropped.eval().model, target()), logits(plain.model, target()))


@every_model
def test_bfloat16_autocast_trains(name: str) -> None:
    model = network(name, 0.5).float().model
    with torch.autocast("cpu", dtype=torch.bfloat16):
        state = model.start(*source())
        for piece in target().split([1, 5], 1):
            log_probs, state, *_ = model.step(piece, state)
    log_probs.sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def step_by_the_equations(cell: Cell, weights: list[Tensor], x: Tensor, state: list[Tensor], m: Tensor) -> list[Tensor]:
    """One step of one sentence, a matrix a gate; m (H,) multiplies h wherever a recurrent matrix reads it."""
    w, u, b, b_u = (p.split(8) for p in weights)
    h = state[0]
    pre = [wi @ x + bi for wi, bi in zip(w, b, strict=True)]
    rec = [ui @ (m * h) + bi for ui, bi in zip(u, b_u, strict=True)]
    if cell == "rnn":
        return [torch.tanh(pre[0] + rec[0])]
    if cell == "lstm":
        i, f, o = (torch.sigmoid(pre[k] + rec[k]) for k in (0, 1, 3))
        c = f * state[1] + i * torch.tanh(pre[2] + rec[2])
        return [o * torch.tanh(c), c]
    r, z = (torch.sigmoid(pre[k] + rec[k]) for k in (0, 1))
    inner = r * rec[2] if cell == "gru" else u[2] @ (r * (m * h)) + b_u[2]
    return [z * h + (1 - z) * torch.tanh(pre[2] + inner)]


@pytest.mark.parametrize("dropped", [False, True])
@pytest.mark.parametrize("cell", KINDS)
def test_the_own_loop_is_the_equations(cell: Cell, dropped: bool) -> None:
    """Two layers, both directions, rows of unequal lengths, with masks given and without; reset before is Cho's GRU."""
    layers = Recurrence(cell, 6, 16, 2, bidirectional=True).double()
    for bias in (p for name, p in layers.named_parameters() if "bias" in name):
        torch.nn.init.normal_(bias)
    x, padding = torch.randn(3, 5, 6, dtype=torch.float64), source()[1]
    masks = torch.rand(3, 2, 16, dtype=torch.float64) if dropped else torch.ones(3, 2, 16, dtype=torch.float64)
    outputs, last = layers.read_unrolled(x, padding, masks if dropped else None)
    for row, length in enumerate(LENGTHS):
        below, ends = list(x[row, :length]), []
        for layer in range(2):
            sides = []
            for side, weights in enumerate(layers.rnn.all_weights[2 * layer : 2 * layer + 2]):
                state = [torch.zeros(8, dtype=torch.float64)] * KINDS[cell].vectors
                read = []
                for x_t in below[::-1] if side else below:
                    state = step_by_the_equations(cell, weights, x_t, state, masks[row, layer].chunk(2)[side])
                    read.append(state[0])
                sides.append((read[::-1] if side else read, state))
            below = [torch.cat(pair) for pair in zip(sides[0][0], sides[1][0], strict=True)]
            ends.append([torch.cat(pair) for pair in zip(sides[0][1], sides[1][1], strict=True)])
        torch.testing.assert_close(outputs[row, :length], torch.stack(below), rtol=0, atol=1e-12)
        expected = torch.stack([vector for kind in zip(*ends, strict=True) for vector in kind])
        torch.testing.assert_close(last[row], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("num_layers", [1, 2])
def test_laws_of_the_paper_s_gru(num_layers: int) -> None:
    assert_laws(GRU(17, **SIZES, reset="before", num_layers=num_layers).model)


def test_the_two_grus_differ() -> None:
    after, before = (GRU(11, **SIZES, reset=reset, dropout=0.0).model for reset in ("after", "before"))
    before.load_state_dict(after.state_dict())
    assert not torch.allclose(logits(after, target()), logits(before, target()))


def test_a_mask_keeps_the_expectation_and_is_none_in_evaluation() -> None:
    dropout = RecurrentDropout(0.25)
    mask = dropout.draw(torch.zeros(200), 100)
    assert mask.shape == (200, 100)
    assert mask.unique().tolist() == [0.0, pytest.approx(4 / 3)]
    assert mask.mean().item() == pytest.approx(1, abs=0.02)
    assert dropout.eval().draw(torch.zeros(3), 4) is None
