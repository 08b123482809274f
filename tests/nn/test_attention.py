"""The ways to compute attention against each other."""

import pytest
import torch

from s2s_lightning.nn.attention import (
    MASKED,
    CausalSelfAttention,
    CrossAttention,
    SelfAttention,
    causal_bias,
    explicit_attention,
    fused_attention,
    padding_bias,
    softmax,
)
from s2s_lightning.nn.key_value_cache import Cache, KeyValue

WIDTH, HEADS = 12, 3


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64)


@pytest.mark.parametrize("queries", [1, 4])
def test_fused_and_explicit_attention_agree_in_value_and_gradients(queries: int) -> None:
    inputs = [random(2, HEADS, n, 4).requires_grad_() for n in (queries, 5, 5)]
    padding = torch.tensor([[False] * 5, [False] * 2 + [True] * 3])
    bias = padding_bias(padding, torch.float64)
    q, k, v = inputs
    fused = fused_attention(q, KeyValue(k, v), bias)
    explicit, weights = explicit_attention(q, KeyValue(k, v), bias)
    torch.testing.assert_close(fused, explicit, rtol=1e-12, atol=1e-12)
    assert weights[1, ..., 2:].abs().max() == 0
    seed = random(*fused.shape)
    for a, b in zip(torch.autograd.grad(fused, inputs, seed), torch.autograd.grad(explicit, inputs, seed), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("queries", [1, 4])
def test_a_fully_masked_row_gives_finite_values_and_gradients(queries: int, need_weights: bool) -> None:
    layer = CrossAttention(WIDTH, WIDTH, HEADS).double()
    x, states = random(2, queries, WIDTH).requires_grad_(), random(2, 3, WIDTH).requires_grad_()
    bias = padding_bias(torch.tensor([[True] * 3, [False] * 3]), torch.float64)
    y, _ = layer(x, layer.project(states, states), bias, need_weights)
    gradients = torch.autograd.grad(y.sum(), [x, states])
    assert all(t.isfinite().all() for t in (y, *gradients))


def test_weights_do_not_change_the_output_and_reproduce_it() -> None:
    layer = CrossAttention(WIDTH, 7, HEADS).double()
    x, states, values = random(2, 4, WIDTH), random(2, 5, 7), random(2, 5, 7)
    bias = padding_bias(torch.tensor([[False] * 5, [False] * 4 + [True]]), torch.float64)
    kv = layer.project(states, values)
    fast, nothing = layer(x, kv, bias)
    slow, weights = layer(x, kv, bias, need_weights=True)
    assert nothing is None
    torch.testing.assert_close(slow, fast, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]), rtol=1e-12, atol=0)
    by_hand = layer.output((weights @ kv.values).transpose(1, 2).flatten(2))
    torch.testing.assert_close(by_hand, fast, rtol=1e-12, atol=1e-12)


def test_attention_dropout_keeps_the_expectation() -> None:
    torch.manual_seed(1)
    layer = SelfAttention(WIDTH, HEADS, dropout=0.3).double()
    x = random(1, 5, WIDTH)
    bias = padding_bias(torch.zeros(1, 5, dtype=torch.bool), torch.float64)
    many = layer(x.expand(20_000, -1, -1), bias).mean(0)
    torch.testing.assert_close(many, layer.eval()(x, bias)[0], rtol=0, atol=0.02)


def test_causal_attention_is_attention_under_a_triangular_mask() -> None:
    layer = CausalSelfAttention(WIDTH, HEADS).double()
    x = random(2, 5, WIDTH)
    y, past = layer(x, Cache.begin(KeyValue(*random(2, 2, HEADS, 0, 4))))
    q = layer.query_key_value(x)[..., :WIDTH].view(2, 5, HEADS, 4).transpose(1, 2)
    expected = explicit_attention(q, past.kv, causal_bias(5, 5, q))[0]
    torch.testing.assert_close(y, layer.output(expected.transpose(1, 2).flatten(2)), rtol=1e-12, atol=1e-12)


def test_a_cache_is_extended_and_not_changed() -> None:
    layer = CausalSelfAttention(WIDTH, HEADS).double()
    x = random(2, 5, WIDTH)
    nothing = Cache.begin(KeyValue(*random(2, 2, HEADS, 0, 4)))
    _, past = layer(x[:, :3], nothing)
    before = past.kv.keys.clone()
    rest, _ = layer(x[:, 3:], past)
    assert torch.equal(past.kv.keys, before)
    torch.testing.assert_close(rest, layer(x, nothing)[0][:, 3:], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("keys", [1, 7, 15, 16])
def test_the_softmax_of_a_search_is_torchs(keys: int) -> None:
    scores = 9 * random(3, HEADS, 2, keys)
    scores[0, 0] = MASKED
    with torch.no_grad():
        torch.testing.assert_close(softmax(scores), scores.softmax(-1), rtol=1e-12, atol=1e-12)


def test_bf16_autocast_gives_finite_values_near_float32() -> None:
    layer = CrossAttention(WIDTH, WIDTH, HEADS)
    x, states = torch.randn(2, 4, WIDTH), torch.randn(2, 5, WIDTH)
    bias = padding_bias(torch.tensor([[False] * 5, [False] * 2 + [True] * 3]), torch.float32)
    exact, _ = layer(x, layer.project(states, states), bias)
    with torch.autocast("cpu", torch.bfloat16):
        kv = layer.project(states, states)
        for need_weights in (False, True):
            torch.testing.assert_close(layer(x, kv, bias, need_weights)[0].float(), exact, rtol=0, atol=0.03)
