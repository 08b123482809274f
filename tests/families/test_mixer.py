"""What every mixer promises, and the stacks around them."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from s2s_lightning.errors import UserError
from s2s_lightning.families.deltanet import DeltaRule, GatedDeltaRule
from s2s_lightning.families.mamba2 import Mamba2Encoder, Mamba2Mixer, StateSpace
from s2s_lightning.families.mixer import MixerDecoder
from s2s_lightning.families.retnet import MultiScaleRetention
from s2s_lightning.families.xlstm import MLSTMMixer, XLSTMEncoder
from s2s_lightning.model import MemoryShape, tree_map
from s2s_lightning.nn.recurrent_mixer import Mixer

D = 8
SPACES = {
    "mamba2": StateSpace(d_head=4, d_state=3),
    "mamba2-groups": StateSpace(expand=3, d_head=4, d_state=3, num_groups=2, kernel_size=3),
    "mamba2-no-convolution": StateSpace(d_head=8, d_state=5, kernel_size=1),
}
MIXERS: dict[str, Callable[[int], Mixer]] = {
    **{name: space.new_mixer for name, space in SPACES.items()},
    "xlstm": lambda d_model: MLSTMMixer(d_model, num_heads=2, d_key=3),
    "retnet": lambda d_model: MultiScaleRetention(d_model, num_heads=2, d_value=12),
    "deltanet": lambda d_model: DeltaRule(d_model, num_heads=2, d_value=12, kernel_size=4),
    "gated_deltanet": lambda d_model: GatedDeltaRule(d_model, num_heads=2, d_value=12, kernel_size=4),
}


@pytest.fixture(params=MIXERS.values(), ids=MIXERS)
def mixer(request: pytest.FixtureRequest) -> Mixer:
    """Each kind in turn, in float64, no parameter at zero or one."""
    torch.manual_seed(0)
    made = request.param(D).double()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.5)
    return made


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64)


def leaves(tree: object) -> list[torch.Tensor]:
    found: list[torch.Tensor] = []
    tree_map(lambda x: found.append(x) or x, tree)
    return found


def floating_types(carry: object) -> set[torch.dtype]:
    return {x.dtype for x in leaves(carry) if x.is_floating_point()}


def assert_same_carry(found: object, expected: object) -> None:
    for a, b in zip(leaves(found), leaves(expected), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("cuts", [[1], [3, 4], list(range(1, 50))])
def test_pieces_make_the_whole(mixer: Mixer, cuts: list[int]) -> None:
    x = random(2, 50, D)
    start = carry = mixer.start(2, x)
    outputs = []
    for piece in x.tensor_split(cuts, 1):
        y, carry = mixer(piece, carry)
        outputs.append(y)
    whole, last = mixer(x, mixer.start(2, x))
    torch.testing.assert_close(torch.cat(outputs, 1), whole, rtol=0, atol=1e-11)
    assert_same_carry(carry, last)
    assert_same_carry(start, mixer.start(2, x))


def test_padding_behind_leaves_the_carry_as_it_is(mixer: Mixer) -> None:
    first, x = random(3, 4, D), random(3, 6, D)
    lengths = [6, 2, 0]
    past = mixer(first, mixer.start(3, first))[1]
    padding = torch.arange(6) >= torch.tensor(lengths).unsqueeze(1)
    y, carry = mixer(x, past, padding)
    for row, length in enumerate(lengths):
        alone = torch.cat([first, x], 1)[row : row + 1, : 4 + length]
        expected, last = mixer(alone, mixer.start(1, x))
        torch.testing.assert_close(y[row, :length], expected[0, 4:], rtol=0, atol=1e-11)
        assert_same_carry(tree_map(lambda part, row=row: part[row : row + 1], carry), last)


def test_padding_in_front_changes_nothing_that_comes_after(mixer: Mixer) -> None:
    x = random(3, 6, D)
    lengths = [6, 2, 1]
    padding = torch.arange(5, -1, -1) >= torch.tensor(lengths).unsqueeze(1)
    y, carry = mixer(x, mixer.start(3, x), padding)
    then, _ = mixer(x, carry)
    for row, length in enumerate(lengths):
        expected, last = mixer(x[row : row + 1, 6 - length :], mixer.start(1, x))
        torch.testing.assert_close(y[row, 6 - length :], expected[0], rtol=0, atol=1e-11)
        torch.testing.assert_close(then[row], mixer(x[row : row + 1], last)[0][0], rtol=0, atol=1e-11)


def test_the_carry_is_in_single_precision_at_least(mixer: Mixer) -> None:
    mixer.float()
    x = torch.randn(2, 5, D)
    with torch.autocast("cpu", torch.bfloat16):
        y, carry = mixer(x, mixer.start(2, x.bfloat16()))
    assert y.isfinite().all()
    assert floating_types(carry) == {torch.float32}
    y, carry = mixer.bfloat16()(x.bfloat16(), mixer.start(2, x.bfloat16()))
    assert y.dtype == torch.bfloat16
    assert floating_types(carry) == {torch.float32}


@pytest.mark.parametrize("encoder", [Mamba2Encoder(D, 1, space=SPACES["mamba2"]), XLSTMEncoder(D, 1, num_heads=2)])
def test_an_encoder_reads_each_sentence_both_ways(encoder: nn.Module) -> None:
    encoder.double().eval()
    x = random(2, 6, D)
    padding = torch.arange(6) >= torch.tensor([[6], [4]])
    states = encoder(x, padding).states
    (layer,) = encoder.layers
    for row, length in enumerate([6, 4]):
        alone = x[row : row + 1, :length]
        z, nothing = layer.mixer_norm(alone), torch.zeros(1, length, dtype=torch.bool)
        alone = alone + layer.ahead.read(z, nothing) + layer.back.read(z.flip(1), nothing).flip(1)
        alone = encoder.norm(alone + layer.feed_forward(layer.feed_forward_norm(alone)))
        torch.testing.assert_close(states[row, :length], alone[0], rtol=0, atol=1e-12)


def test_sizes_that_do_not_divide_are_refused_by_name() -> None:
    with pytest.raises(UserError, match="expand \\* d_model=16 is no multiple of d_head \\* num_groups=12"):
        StateSpace(d_head=4, num_groups=3).new_mixer(D)
    with pytest.raises(UserError, match="d_model=8 is no multiple of num_heads=3"):
        MLSTMMixer(D, 3, 4)
    with pytest.raises(UserError, match="d_model=8 is no multiple of num_heads=3"):
        MixerDecoder(D, MemoryShape(D, (1, D)), SPACES["mamba2"].new_mixer, 1, num_heads=3, d_ff=4, dropout=0.0)
    with pytest.raises(UserError, match="d_state=0: it must be 1 or more"):
        StateSpace(d_state=0).new_mixer(D)


def test_a_mamba_step_is_positive_and_the_state_decays() -> None:
    mixer = StateSpace().new_mixer(32)
    assert isinstance(mixer, Mamba2Mixer)
    dt = nn.functional.softplus(mixer.step_bias)
    assert ((dt > 0.9e-3) & (dt < 1.1e-1)).all()
    assert ((mixer.log_a.exp() >= 1) & (mixer.log_a.exp() <= 16)).all()
