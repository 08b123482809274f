"""Luong's network against loops over its equations, and the laws over its variants."""

import itertools
import math
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from s2s_lightning.data import Generated, Seq2SeqData
from s2s_lightning.errors import UserError
from s2s_lightning.families.luong import AttentionalDecoder, InputFeedingDecoder, Luong
from s2s_lightning.model import DecoderOutput, Memory, MemoryShape
from s2s_lightning.nn.alignment import LocationScore, MonotonicWindow, PredictiveWindow, Window, align
from tests.families.laws import LAWS
from tests.families.recurrent import LENGTHS, assert_laws, source, target
from tests.helpers.toy import toy_trainer

SIZES = {"d_embedding": 6, "d_model": 8}
SCORES = ["dot", "general", "concat"]
DECODERS = [AttentionalDecoder, InputFeedingDecoder]


@pytest.mark.parametrize(
    ("score", "input_feeding", "direction", "num_layers"),
    [
        *itertools.product(SCORES, [True, False], ["both"], [2]),
        ("dot", True, "backward", 1),
        ("dot", False, "forward", 1),
    ],
)
def test_laws(score: str, input_feeding: bool, direction: str, num_layers: int) -> None:
    settings = {"score": score, "input_feeding": input_feeding, "direction": direction, "num_layers": num_layers}
    assert_laws(Luong(17, 13, **SIZES, **settings).model)


def decoder_and_memory(kind: type[AttentionalDecoder], score: str = "general") -> tuple[AttentionalDecoder, Memory]:
    """A decoder of two layers on a random memory, in float64 and evaluation mode."""
    decoder = kind(6, MemoryShape(8, (4, 8)), 8, 2, score=score, dropout=0.5).double().eval()
    states, values = torch.randn(2, 3, 5, 8, dtype=torch.float64)
    return decoder, Memory(states, values, source()[1], torch.randn(3, 4, 8, dtype=torch.float64))


def score_of(decoder: AttentionalDecoder, h: Tensor, state: Tensor) -> Tensor:
    """Equation 8, for one decoder state and one source state (8,)."""
    parameters = dict(decoder.score.named_parameters())
    if not parameters:
        return h @ state
    if "v" not in parameters:
        return h @ parameters["key.weight"] @ state
    w = torch.cat([parameters["query.weight"], parameters["key.weight"]], 1)
    return parameters["v"] @ torch.tanh(w @ torch.cat([h, state]))


def row_by_the_equations(decoder: AttentionalDecoder, memory: Memory, y: Tensor, row: int) -> tuple[Tensor, Tensor]:
    """Attentional vectors (T, H) and weights (T, real source) of one sentence, by nn.LSTMCell and equations 5, 7, 8."""
    cells = []
    for w_input, w_recurrent, b_input, b_recurrent in decoder.recurrence.rnn.all_weights:
        cell = nn.LSTMCell(w_input.shape[1], 8).double()
        cell.load_state_dict(
            {"weight_ih": w_input, "weight_hh": w_recurrent, "bias_ih": b_input, "bias_hh": b_recurrent}
        )
        cells.append(cell)
    w_c = torch.cat([decoder.value.weight, decoder.query.weight], 1)
    (h1, h2, c1, c2), fed = memory.summary[row], torch.zeros(8, dtype=torch.float64)
    states, values = memory.states[row, : LENGTHS[row]], memory.values[row, : LENGTHS[row]]
    vectors, weights = [], []
    for y_t in y[row]:
        x = torch.cat([y_t, fed]) if decoder.feeds_input else y_t
        h1, c1 = cells[0](x, (h1, c1))
        h2, c2 = cells[1](h1, (h2, c2))
        weights.append(torch.stack([score_of(decoder, h2, state) for state in states]).softmax(0))
        fed = torch.tanh(w_c @ torch.cat([weights[-1] @ values, h2]))
        vectors.append(fed)
    return torch.stack(vectors), torch.stack(weights)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("kind", DECODERS)
def test_vectors_and_weights_are_those_of_the_papers_equations(kind: type[AttentionalDecoder], score: str) -> None:
    decoder, memory = decoder_and_memory(kind, score)
    y = torch.randn(3, 4, 6, dtype=torch.float64)
    output = decoder(y, decoder.start(memory), need_weights=True)
    for row, length in enumerate(LENGTHS):
        vectors, weights = row_by_the_equations(decoder, memory, y, row)
        torch.testing.assert_close(output.hidden[row], vectors, rtol=0, atol=1e-12)
        torch.testing.assert_close(output.attention[row, 0, 0, :, :length], weights, rtol=0, atol=1e-12)


def test_float32_is_near_the_equations_too() -> None:
    decoder, memory = decoder_and_memory(InputFeedingDecoder)
    y = torch.randn(3, 4, 6, dtype=torch.float64)
    vectors, _ = row_by_the_equations(decoder, memory, y, 0)
    single = decoder.float().start(
        memory._replace(**{name: getattr(memory, name).float() for name in ("states", "values", "summary")})
    )
    torch.testing.assert_close(decoder(y.float(), single).hidden[0], vectors.float(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", DECODERS)
def test_attention_is_a_distribution_over_the_real_source(kind: type[AttentionalDecoder]) -> None:
    decoder, memory = decoder_and_memory(kind)
    y = torch.randn(3, 4, 6, dtype=torch.float64)
    attention = decoder(y, decoder.start(memory), need_weights=True).attention
    assert attention.shape == (3, 1, 1, 4, 5)
    assert not attention.masked_select(memory.padding[:, None, None, None]).any()
    torch.testing.assert_close(attention.sum(-1), torch.ones(3, 1, 1, 4, dtype=torch.float64))
    assert decoder(y, decoder.start(memory)).attention is None


def test_without_input_feeding_a_step_does_not_see_the_attention_before_it() -> None:
    """What tells the two decoders apart: a change of the values reaches the second step's LSTM only when it is fed."""

    def weights(kind: type[AttentionalDecoder], scale: float) -> DecoderOutput:
        torch.manual_seed(0)
        decoder, memory = decoder_and_memory(kind)
        y = torch.randn(3, 2, 6, dtype=torch.float64)
        return decoder(y, decoder.start(memory._replace(values=memory.values * scale)), need_weights=True).attention

    assert torch.equal(weights(AttentionalDecoder, 1.0), weights(AttentionalDecoder, 2.0))
    assert not torch.equal(weights(InputFeedingDecoder, 1.0)[..., 1, :], weights(InputFeedingDecoder, 2.0)[..., 1, :])


def test_a_dot_score_of_unequal_widths_is_refused() -> None:
    with pytest.raises(UserError, match="8 != 10"):
        AttentionalDecoder(6, MemoryShape(10, (1, 10)), 8, 1, score="dot", dropout=0.0)


@pytest.mark.parametrize("shape", [(1, 10), (4, 6), (3, 8)])
def test_a_summary_of_any_shape_starts_the_decoder(shape: tuple[int, int]) -> None:
    decoder = InputFeedingDecoder(6, MemoryShape(10, shape), 8, 2, score="general", dropout=0.0)
    states = torch.randn(3, 5, 10)
    state = decoder.start(Memory(states, states, source()[1], torch.randn(3, *shape)))
    assert decoder(torch.randn(3, 2, 6), state).hidden.shape == (3, 2, 8)


@pytest.mark.parametrize("input_feeding", [True, False])
def test_bfloat16_autocast_trains(input_feeding: bool) -> None:
    model = Luong(11, **SIZES, input_feeding=input_feeding).model.train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        state = model.start(*source())
        for piece in target().split([1, 5], 1):
            log_probs, state, *_ = model.step(piece, state)
    log_probs.sum().backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in model.parameters())


def local_weights(window: Window, scores: Tensor, h: Tensor, t: int) -> Tensor:
    """Equations 7, 9 and 10 for the scores (S,) of the real source at step t = 1, 2, ..., a position at a time."""
    length, radius = len(scores), window.radius
    centre = float(t)
    if isinstance(window, PredictiveWindow):
        centre = length * torch.sigmoid(window.v @ torch.tanh(window.inner.weight @ h)).item()
    inside = [s for s in range(1, length + 1) if centre - radius <= s <= centre + radius]
    total = sum(math.exp(scores[s - 1]) for s in inside)
    weights = torch.zeros(length, dtype=torch.float64)
    for s in inside:
        weights[s - 1] = math.exp(scores[s - 1]) / total
        if isinstance(window, PredictiveWindow):
            weights[s - 1] *= math.exp(-((s - centre) ** 2) / (2 * (radius / 2) ** 2))
    return weights


@pytest.mark.parametrize("radius", [1, 2, 10])
@pytest.mark.parametrize("make", [lambda d, r: MonotonicWindow(r), PredictiveWindow], ids=["local-m", "local-p"])
def test_local_weights_are_those_of_the_papers_equations(make: Callable[[int, int], Window], radius: int) -> None:
    window, padding = make(8, radius).double(), source()[1]
    scores, h = torch.randn(3, 9, 5, dtype=torch.float64), 3 * torch.randn(3, 9, 8, dtype=torch.float64)
    step = torch.arange(9).expand(3, 9)
    weights = window(scores, h, step, padding)
    for row, length in enumerate(LENGTHS):
        for t in range(9):
            expected = local_weights(window, scores[row, t, :length], h[row, t], t + 1)
            torch.testing.assert_close(weights[row, t, :length], expected, rtol=0, atol=1e-12)
            assert not weights[row, t, length:].any()


def test_a_monotonic_window_behind_the_source_is_empty_and_learns() -> None:
    scores = torch.randn(1, 4, 2, requires_grad=True)
    padding = torch.zeros(1, 2, dtype=torch.bool)
    weights = MonotonicWindow(1)(scores, torch.zeros(1, 4, 8), torch.arange(4).unsqueeze(0), padding)
    torch.testing.assert_close(weights.sum(-1), torch.tensor([[1.0, 1.0, 1.0, 0.0]]))
    weights.square().sum().backward()
    assert scores.grad.isfinite().all()


def test_location_scores_are_rows_of_one_matrix_and_nothing_behind_them_is_seen() -> None:
    score = LocationScore(8, max_positions=4).double()
    h, states = torch.randn(1, 2, 8, dtype=torch.float64), torch.randn(1, 7, 10, dtype=torch.float64)
    padding = torch.zeros(1, 7, dtype=torch.bool)
    for length in (3, 7):
        weights = align(score(h, score.keys(states[:, :length])), padding[:, :length])
        expected = torch.softmax((h @ score.position.weight.T)[..., :length], -1)
        torch.testing.assert_close(weights[..., :4], expected, rtol=0, atol=1e-12)
        assert not weights[..., 4:].any()


LOCAL = [{"window": window, "window_radius": radius} for window in ("monotonic", "predictive") for radius in (1, 3)]
VARIANTS = [*LOCAL, {"score": "location"}, {"score": "location", "max_positions": 3}]


@pytest.mark.parametrize("input_feeding", [True, False])
@pytest.mark.parametrize("settings", VARIANTS, ids=lambda settings: "-".join(map(str, settings.values())))
def test_laws_of_windows_and_location(settings: dict[str, Any], input_feeding: bool) -> None:
    model = Luong(17, 13, **SIZES, input_feeding=input_feeding, **settings).double().eval().model
    for law in LAWS:
        law.check(model)


def test_a_location_score_in_a_window_is_refused() -> None:
    with pytest.raises(UserError, match="score=location with window=monotonic"):
        Luong(11, **SIZES, score="location", window="monotonic")


def test_a_window_that_numbers_words_refuses_reversed_data(tmp_path: Path) -> None:
    data = Seq2SeqData(Generated("copy", train_pairs=8, val_pairs=2, test_pairs=2), reverse_source=True)
    sizes = {"d_embedding": 4, "d_model": 4, "num_layers": 1}
    for window in ("monotonic", "predictive", "global"):
        module = Luong(data.src_vocab_size, data.tgt_vocab_size, window=window, **sizes)  # type: ignore[arg-type]
        refused = pytest.raises(UserError, match="reverse_source") if window == "monotonic" else nullcontext()
        with refused:
            toy_trainer(tmp_path, max_steps=1).fit(module, datamodule=data)
