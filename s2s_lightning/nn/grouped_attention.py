"""Grouped-query attention (Ainslie et al., 2023, arXiv:2305.13245): several query heads share keys and values.

Shape letters: G heads of keys and values, d = D / H width of a head. On a CPU torch's fused kernel reads the groups as
they are, in 0.5 to 0.8 of the time that repeated keys and values take (H 8, G 2, d 32; B 64, T 20 and 100).
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from s2s_lightning.nn.attention import FEW, causal_bias, fold, softmax, unfold
from s2s_lightning.nn.key_value_cache import KeyValue
from s2s_lightning.nn.positions import Rotation, rotate


def explicit_grouped_attention(q: Tensor, blocks: Sequence[KeyValue], bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """One softmax over all blocks by plain products, without joining the blocks or repeating their heads.

    Args:
        q: queries (B, H, T, d).
        blocks: keys and values (B, G, S, d) each, S their own.
        bias: added to the scores; it broadcasts to (B, H, T, sum of S).

    Returns:
        The mean of the values (B, H, T, d), and the weights (B, H, T, sum of S).
    """
    batch, _, _, width = q.shape
    groups = blocks[0].keys.shape[1]
    folded = (q / math.sqrt(width)).reshape(batch, groups, -1, width)  # (B, G, H/G * T, d)
    products = torch.cat([folded @ block.keys.transpose(-1, -2) for block in blocks], -1)
    scores = products.view(*q.shape[:3], -1)
    weights = softmax(scores if bias is None else scores + bias)
    parts = torch.split(weights.view(products.shape), [block.keys.shape[2] for block in blocks], -1)
    mean = parts[0] @ blocks[0].values
    for part, block in zip(parts[1:], blocks[1:], strict=True):
        mean = mean + part @ block.values
    return mean.view(q.shape), weights


def fused_grouped_attention(q: Tensor, blocks: Sequence[KeyValue], bias: Tensor | None) -> Tensor:
    """The same mean of the values, in one kernel."""
    keys, values = (parts[0] if len(parts) == 1 else torch.cat(parts, 2) for parts in zip(*blocks, strict=True))
    mask = None if bias is None else bias.to(q.dtype)
    return F.scaled_dot_product_attention(q, keys, values, attn_mask=mask, enable_gqa=True)


class GroupedQueryAttention(nn.Module):
    """Attention without biases, whose H query heads share G heads of keys and values.

    Queries are made of one sequence, keys and values of the same or another one: self-attention, attention over a
    source, or one attention over both is a matter of who calls what.

    Args:
        d_model: D of input and output, a multiple of num_heads.
        num_heads: H, a multiple of num_kv_heads.
        num_kv_heads: G. As many as num_heads is multi-head attention, 1 is multi-query attention.
        d_memory: D' of what keys and values are made of; D by default.
        qk_norm: makes the norm, over d, of queries and of keys before they are rotated; the identity is none.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        num_kv_heads: int,
        *,
        d_memory: int | None = None,
        qk_norm: Callable[[int], nn.Module] = nn.Identity,
    ) -> None:
        super().__init__()
        self.d_head = d_model // num_heads
        width = num_kv_heads * self.d_head
        self.query = nn.Linear(d_model, d_model, bias=False)
        self.key = nn.Linear(d_memory or d_model, width, bias=False)
        self.value = nn.Linear(d_memory or d_model, width, bias=False)
        self.output = nn.Linear(d_model, d_model, bias=False)
        self.query_norm = qk_norm(self.d_head)
        self.key_norm = qk_norm(self.d_head)

    def queries(self, x: Tensor, rotation: Rotation | None = None) -> Tensor:
        """Return the queries (B, H, T, d) of x (B, T, D)."""
        return rotate(self.query_norm(self._heads(self.query(x))).transpose(1, 2), rotation)

    def keys_values(self, x: Tensor, rotation: Rotation | None = None) -> KeyValue:
        """Return keys and values (B, G, S, d) of x (B, S, D')."""
        return self._keys_values(x, x, rotation)

    def project(self, states: Tensor, values: Tensor) -> KeyValue:
        """Return keys of states (B, S, D') and values of values (B, S, D') of a memory, without positions."""
        kv = self._keys_values(states, values, None)
        # A search multiplies them at each step, which would copy views each time.
        return kv if self.training else KeyValue(kv.keys.contiguous(), kv.values.contiguous())

    def _keys_values(self, keys: Tensor, values: Tensor, rotation: Rotation | None) -> KeyValue:
        normed = self.key_norm(self._heads(self.key(keys))).transpose(1, 2)
        return KeyValue(rotate(normed, rotation), self._heads(self.value(values)).transpose(1, 2))

    def _heads(self, x: Tensor) -> Tensor:
        """(B, S, heads * d) -> (B, S, heads, d), a view of it."""
        batch, length, width = x.shape
        return x.view(batch, length, width // self.d_head, self.d_head)

    def forward(
        self, q: Tensor, blocks: Sequence[KeyValue], bias: Tensor | None, need_weights: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Read all blocks by one softmax.

        Args:
            q: queries (B, H, T, d).
            blocks: keys and values (B, G, S, d) each.
            bias: hides keys; it broadcasts to (B, H, T, sum of S).
            need_weights: return them.

        Returns:
            (B, T, D), and the weights (B, H, T, sum of S) or None.
        """
        if q.shape[2] >= FEW and not need_weights:
            return self._merge(fused_grouped_attention(q, blocks, bias)), None
        mean, weights = explicit_grouped_attention(q, blocks, bias)
        return self._merge(mean), weights if need_weights else None

    def read(self, x: Tensor, kv: KeyValue, bias: Tensor, need_weights: bool = False) -> tuple[Tensor, Tensor | None]:
        """Read a source: of x (B*K, T, D), K targets of each, (B*K, T, D) and the weights (B*K, H, T, S) or None."""
        y, weights = self(self.queries(fold(x, kv)), [kv], bias, need_weights)
        return y.view_as(x), weights if weights is None else unfold(weights, x)

    def read_back(self, q: Tensor, kv: KeyValue) -> Tensor:
        """Each of the last T positions reads itself and those before: q (B, H, T, d), kv (B, G, P + T, d)."""
        queries, keys = q.shape[2], kv.keys.shape[2]
        if queries == keys >= FEW:
            return self._merge(F.scaled_dot_product_attention(q, *kv, is_causal=True, enable_gqa=True))
        y: Tensor = self(q, [kv], None if queries == 1 else causal_bias(queries, keys, q))[0]
        return y

    def _merge(self, heads: Tensor) -> Tensor:
        """(B, H, T, d) -> (B, T, D)."""
        y: Tensor = self.output(heads.transpose(1, 2).flatten(2))
        return y
