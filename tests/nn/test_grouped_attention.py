"""Grouped-query attention by three ways: heads one by one, plain products, the fused kernel."""

import math

import pytest
import torch
from torch import Tensor

from s2s_lightning.nn.attention import causal_bias
from s2s_lightning.nn.grouped_attention import (
    GroupedQueryAttention,
    explicit_grouped_attention,
    fused_grouped_attention,
)
from s2s_lightning.nn.key_value_cache import KeyValue
from s2s_lightning.nn.norm import RMSNorm


def one_by_one(q: Tensor, kv: KeyValue, bias: Tensor) -> Tensor:
    """Head h reads head h // (H / G) of keys and values."""
    share = q.shape[1] // kv.keys.shape[1]
    heads = []
    for h in range(q.shape[1]):
        scores = q[:, h] @ kv.keys[:, h // share].transpose(1, 2) / math.sqrt(q.shape[-1])
        heads.append((scores + bias[:, 0]).softmax(-1) @ kv.values[:, h // share])
    return torch.stack(heads, 1)


@pytest.mark.parametrize("num_kv_heads", [1, 2, 6])
@pytest.mark.parametrize("length", [1, 4])
def test_plain_products_and_the_kernel_compute_each_head(num_kv_heads: int, length: int) -> None:
    torch.manual_seed(0)
    q = torch.randn(2, 6, length, 5).double()
    kv = KeyValue(*torch.randn(2, 2, num_kv_heads, 7, 5).double())
    bias = torch.randn(2, 1, length, 7).double()
    expected = one_by_one(q, kv, bias)
    blocks = [KeyValue(*(x[:, :, part] for x in kv)) for part in (slice(0, 3), slice(3, 7))]
    for parts in ([kv], blocks):
        mean, weights = explicit_grouped_attention(q, parts, bias)
        torch.testing.assert_close(mean, expected, rtol=0, atol=1e-12)
        assert weights.shape == (2, 6, length, 7)
        torch.testing.assert_close(fused_grouped_attention(q, parts, bias), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("past", [0, 3])
def test_reading_back_is_reading_with_a_causal_mask(past: int) -> None:
    torch.manual_seed(0)
    attention = GroupedQueryAttention(12, 6, 2).double()
    x = torch.randn(2, past + 4, 12).double()
    q, kv = attention.queries(x[:, past:]), attention.keys_values(x)
    expected, _ = attention(q, [kv], causal_bias(4, past + 4, x))
    torch.testing.assert_close(attention.read_back(q, kv), expected, rtol=0, atol=1e-12)


def test_normed_queries_and_keys_bound_the_scores_whatever_their_size() -> None:
    """Law of QK-norm: of scaled inputs, the weights stay; without it they change."""
    torch.manual_seed(0)
    x, memory = torch.randn(2, 4, 12).double(), torch.randn(2, 5, 8).double()
    for norm, changes in ((RMSNorm, False), (torch.nn.Identity, True)):
        attention = GroupedQueryAttention(12, 6, 2, d_memory=8, qk_norm=norm).double()
        weights = [
            attention(attention.queries(scale * x), [attention.project(scale * memory, memory)], None, True)[1]
            for scale in (10.0, 1000.0)
        ]
        assert ((weights[0] - weights[1]).abs().max() > 1e-4) == changes
