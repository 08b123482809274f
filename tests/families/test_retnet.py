"""The layer against the paper's recurrent and parallel forms in complex float64, and the laws for every variant."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from s2s_lightning.errors import UserError
from s2s_lightning.families.retnet import MultiScaleRetention, RetNet
from s2s_lightning.model import Seq2Seq
from s2s_lightning.testing import SRC_VOCAB, TGT_VOCAB, Law, batch_of
from tests.families.laws import LAWS

HEADS, D, VALUES = 3, 12, 18
GAMMAS = [1 - 2 ** (-5 - h) for h in range(HEADS)]


def build(**options: Any) -> Seq2Seq:
    torch.manual_seed(0)
    sizes = {"d_model": 8, "num_heads": 2, "num_encoder_layers": 2, "num_decoder_layers": 2, **options}
    return RetNet(SRC_VOCAB, TGT_VOCAB, **sizes).eval().double().model


def layer() -> MultiScaleRetention:
    torch.manual_seed(0)
    return MultiScaleRetention(D, num_heads=HEADS, d_value=VALUES).double()


def projected(mixer: MultiScaleRetention, x: Tensor) -> list[list[Tensor]]:
    """Of x (T, D): for each head queries and keys as complex numbers (T, d/2), turned by e^(i n theta), and values."""
    width = D // HEADS
    q, k, v, _ = (x @ mixer.input.weight.T).split([D, D, VALUES, VALUES], 1)
    theta = 10000.0 ** -(torch.arange(0, width, 2).double() / width)
    turn = torch.exp(1j * torch.arange(len(x)).double()[:, None] * theta)

    def turned(y: Tensor) -> Tensor:
        real, imaginary = y.chunk(2, 1)
        return (real + 1j * imaginary) * turn

    heads = zip(*(part.chunk(HEADS, 1) for part in (q, k, v)), strict=True)
    return [[turned(q) / width**0.5, turned(k), v.to(turn.dtype)] for q, k, v in heads]


def recurrent(q: Tensor, k: Tensor, v: Tensor, gamma: float) -> Tensor:
    """S_n = gamma S_{n-1} + K_n^T V_n, o_n = Q_n S_n."""
    state, out = torch.zeros(q.shape[1], v.shape[1], dtype=q.dtype), []
    for n in range(len(q)):
        state = gamma * state + torch.outer(k[n].conj(), v[n])
        out.append((q[n] @ state).real)
    return torch.stack(out)


def parallel(q: Tensor, k: Tensor, v: Tensor, gamma: float) -> Tensor:
    """(Q K^H * D) V with D_nm = gamma^(n-m) for n >= m, else 0."""
    n = torch.arange(len(q))
    decay = torch.where(n[:, None] >= n, gamma ** (n[:, None] - n).double(), 0)
    return ((q @ k.mH * decay) @ v).real


def finished(mixer: MultiScaleRetention, x: Tensor, heads: list[Tensor]) -> Tensor:
    """(swish(x W_G) * GroupNorm(heads)) W_O."""
    normed = torch.nn.functional.group_norm(torch.cat(heads, 1), HEADS)
    gate = x @ mixer.input.weight[-VALUES:].T
    return (gate * gate.sigmoid() * normed) @ mixer.output.weight.T


@pytest.mark.parametrize("form", [recurrent, parallel])
def test_the_layer_is_the_papers(form: Callable[..., Tensor]) -> None:
    mixer, x = layer(), torch.randn(2, 75, D, dtype=torch.float64)
    y, _ = mixer(x, mixer.start(2, x))
    for row in range(2):
        parts = zip(projected(mixer, x[row]), GAMMAS, strict=True)
        heads = [form(*head, gamma) for head, gamma in parts]
        torch.testing.assert_close(y[row], finished(mixer, x[row], heads), rtol=0, atol=1e-9)


@pytest.mark.parametrize("law", LAWS, ids=str)
@pytest.mark.parametrize("options", [{}, {"num_heads": 1, "d_value": 6}, {"num_heads": 4, "d_value": 8, "d_ff": 5}])
def test_every_variant_keeps_the_law(law: Law, options: dict[str, Any]) -> None:
    law.check(build(**options))


def test_states_depend_on_what_comes_later_in_the_source() -> None:
    model, batch = build(), batch_of([([5, 6, 7, 8], [4]), ([5, 6, 7, 9], [4])])
    states = model.encoder(model.src_embedding(batch.src), batch.src_padding).states
    assert (states[0, 0] - states[1, 0]).abs().max() > 1e-6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"d_model": 10, "num_heads": 2}, "d_model=10 is no multiple of 2 \\* num_heads=4"),
        ({"d_value": 9}, "d_value=9 is no multiple of num_heads=2"),
    ],
)
def test_a_width_that_the_heads_cannot_share_is_refused_by_name(options: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(**options)
