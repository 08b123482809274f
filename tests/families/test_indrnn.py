"""IndRNN against its equation, and the bound of its recurrent weights."""

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from s2s_lightning.errors import UserError
from s2s_lightning.families import IndRNN
from s2s_lightning.families.indrnn import IndRNNLayer
from s2s_lightning.testing import SRC_VOCAB
from tests.families.elementwise import assert_layer_is_its_steps
from tests.helpers.toy import VOCAB, ToyData, toy_trainer


@pytest.mark.parametrize("both_ways", [False, True])
def test_indrnn_computes_its_equation(both_ways: bool) -> None:
    layer = IndRNNLayer(4, both_ways, bound=0.4)

    def step(x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        u = torch.tensor([max(-0.4, min(0.4, value)) for value in layer.u.tolist()], dtype=torch.float64)
        h = (layer.linear.weight @ x + layer.linear.bias + u * h).clamp(min=0)
        return h, h

    assert_layer_is_its_steps(layer, step, torch.rand(3, 4, dtype=torch.float64))


def test_a_state_grows_by_gamma_at_most_in_its_memory_length() -> None:
    layer = IndRNN(SRC_VOCAB, d_model=8, num_heads=2, gamma=3.0, memory_length=50).model.decoder.layers[0].recurrence
    torch.nn.init.constant_(layer.u, 9.0)
    torch.nn.init.zeros_(layer.linear.weight)
    h, _ = layer(torch.zeros(1, 50, 8), torch.ones(1, 8))
    torch.testing.assert_close(h[:, -1], torch.full((1, 8), 3.0))


def test_a_clipped_weight_can_come_back() -> None:
    layer = IndRNNLayer(4, bound=1.0)
    torch.nn.init.constant_(layer.u, 2.0)
    h, _ = layer(torch.randn(1, 5, 4), torch.ones(1, 4))
    h.sum().backward()
    assert (layer.u.grad > 0).any()


def test_a_memory_of_no_step_is_refused() -> None:
    with pytest.raises(UserError, match="memory_length=0: it must be 1 or more"):
        IndRNN(SRC_VOCAB, memory_length=0)


def test_a_weight_driven_beyond_its_bound_comes_back_at_once() -> None:
    """Clipped only where it is used, it would wind up: hundreds of steps until it moves again."""
    torch.manual_seed(0)
    layer = IndRNNLayer(1, bound=1.0)
    optimizer = torch.optim.SGD([layer.u], lr=0.1)

    def step(direction: float) -> None:
        optimizer.zero_grad()
        (direction * layer.recurrent_weight().sum()).backward()
        optimizer.step()

    for _ in range(100):
        step(-1)
    step(1)
    step(1)
    assert layer.eval().recurrent_weight().item() < 1.0


def test_an_optimizer_step_of_the_module_leaves_weights_within_their_bound(tmp_path: Path) -> None:
    module = IndRNN(VOCAB, d_model=8, num_heads=2, d_ff=8, num_encoder_layers=1, num_decoder_layers=1, gamma=1.0)
    module.optimizer = partial(torch.optim.SGD, lr=100.0)
    toy_trainer(tmp_path, max_steps=2).fit(module, ToyData())
    bounded = [layer.u for layer in module.modules() if isinstance(layer, IndRNNLayer)]
    assert bounded
    assert all(float(u.detach().abs().max()) <= 1.0 for u in bounded)
