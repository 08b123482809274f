"""Multi-head attention (Vaswani et al., 2017, 3.2, arXiv:1706.03762). Keys and values are given and returned.

Shape letter: d = D / H width of a head. On a CPU the fused kernel is 1.3 times as fast in training as explicit products
(H 4, d 32; B 290, T 14; 2.6 times at T 512), but slower for a single query (1.2 to 1.4 times), and with dropout on the
weights: those cases take the explicit products.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from s2s_lightning.nn.dropout import Dropout
from s2s_lightning.nn.key_value_cache import Cache, KeyValue
from s2s_lightning.nn.positions import Rotation, rotate
from s2s_lightning.nn.scan import single

MASKED = -3e4
"""Added to a score, leaves a weight of exactly 0, unless scores themselves are as large. Finite, so that a fully masked
row is no NaN; half types hold it."""

FEW = 12
"""Queries of a row below which explicit products are faster: a beam, say."""

SHORT = 16
"""Columns below which torch's softmax on a CPU takes 3 to 5 times as long as its parts, one by one."""


def padding_bias(padding: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the bias that hides keys at padding (B, S), True at padding: (B, 1, 1, S) to add to scores."""
    return padding.to(dtype)[:, None, None] * MASKED


def causal_bias(queries: int, keys: int, like: Tensor) -> Tensor:
    """Return the bias that hides later keys from the last ``queries`` of ``keys`` positions: (queries, keys)."""
    bias = torch.full((queries, keys), MASKED, dtype=like.dtype, device=like.device)
    return bias.triu_(keys - queries + 1)


def fold(x: Tensor, kv: KeyValue) -> Tensor:
    """The K targets of each source as one: x (B*K, T, D) -> (B, K*T, D) for keys of B sources."""
    return x.view(len(kv.keys), -1, x.shape[-1])


def unfold(weights: Tensor, x: Tensor) -> Tensor:
    """Weights (B, H, K*T, S) of folded targets x (B*K, T, D) -> (B*K, H, T, S)."""
    rows, length, _ = x.shape
    batch, heads, _, width = weights.shape
    return weights.view(batch, heads, -1, length, width).transpose(1, 2).reshape(rows, heads, length, width)


def softmax(scores: Tensor) -> Tensor:
    """Over the last dimension, computed in float32 at least; the weights are of the type of the scores."""
    wide = single(scores)
    if scores.shape[-1] >= SHORT or scores.device.type != "cpu" or torch.is_grad_enabled():
        return wide.softmax(-1).to(scores.dtype)
    weights = (wide - wide.amax(-1, keepdim=True)).exp_()
    return weights.div_(weights.sum(-1, keepdim=True)).to(scores.dtype)


def explicit_attention(
    q: Tensor, kv: KeyValue, bias: Tensor | None = None, dropout: Dropout | None = None
) -> tuple[Tensor, Tensor]:
    """softmax(q k^T / sqrt(d) + bias) v by plain products: the mean of v (B, H, T, d), the weights (B, H, T, S)."""
    scores = (q / math.sqrt(q.shape[-1])) @ kv.keys.transpose(-1, -2)
    weights = softmax(scores if bias is None else scores + bias)
    dropped = weights if dropout is None else dropout(weights)
    return dropped @ kv.values, weights


def fused_attention(q: Tensor, kv: KeyValue, bias: Tensor | None = None) -> Tensor:
    """The same mean of the values, in one kernel."""
    return F.scaled_dot_product_attention(q, *kv, attn_mask=bias if bias is None else bias.to(q.dtype))


class _Attention(nn.Module):
    """Base of all attention: heads, the output projection, and the choice of the kernel.

    Args:
        d_model: D of input and output, a multiple of num_heads.
        num_heads: H.
        dropout: on the attention weights.
    """

    def __init__(self, d_model: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        assert d_model % num_heads == 0
        self.num_heads = num_heads
        self.output = nn.Linear(d_model, d_model)
        self.dropout = Dropout(dropout)

    def _split(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, H, T, d), a view of it."""
        batch, length, width = x.shape
        return x.view(batch, length, self.num_heads, width // self.num_heads).transpose(1, 2)

    def _merge(self, heads: Tensor) -> Tensor:
        """(B, H, T, d) -> (B, T, D)."""
        y: Tensor = self.output(heads.transpose(1, 2).flatten(2))
        return y

    def _explicit_is_faster(self, q: Tensor) -> bool:
        return q.shape[2] < FEW or (self.training and self.dropout.p > 0)

    def _attend(self, q: Tensor, kv: KeyValue, bias: Tensor | None) -> Tensor:
        if self._explicit_is_faster(q):
            return explicit_attention(q, kv, bias, self.dropout)[0]
        return fused_attention(q, kv, bias)


class _JointProjection(_Attention):
    """Queries, keys and values of one sequence, by one matrix."""

    def __init__(self, d_model: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__(d_model, num_heads, dropout)
        self.query_key_value = nn.Linear(d_model, 3 * d_model)

    def _project(self, x: Tensor) -> list[Tensor]:
        """(B, T, D) -> three of (B, H, T, d)."""
        return [self._split(part) for part in self.query_key_value(x).chunk(3, -1)]


class SelfAttention(_JointProjection):
    """Each position reads all of its sequence."""

    def forward(self, x: Tensor, bias: Tensor, rotation: Rotation | None = None) -> Tensor:
        """Attend from x (B, T, D) to itself, with the bias (B, 1, 1, T) of its padding."""
        q, k, v = self._project(x)
        return self._merge(self._attend(rotate(q, rotation), KeyValue(rotate(k, rotation), v), bias))


class CausalSelfAttention(_JointProjection):
    """Each position reads itself and what came before, in this call and in earlier ones."""

    def forward(self, x: Tensor, past: Cache, rotation: Rotation | None = None) -> tuple[Tensor, Cache]:
        """Attend from x (B, T, D) to ``past`` and itself: (B, T, D) and the past of the next call."""
        q, k, v = self._project(x)
        past = past.append(KeyValue(rotate(k, rotation), v))
        return self._merge(self._attend_back(rotate(q, rotation), past.kv)), past

    def _attend_back(self, q: Tensor, kv: KeyValue) -> Tensor:
        queries, keys = q.shape[2], kv.keys.shape[2]
        if queries == keys and not self._explicit_is_faster(q):
            return F.scaled_dot_product_attention(q, *kv, is_causal=True)  # without reading a mask: 1.2 times as fast
        return self._attend(q, kv, None if queries == 1 else causal_bias(queries, keys, q))


class CrossAttention(_Attention):
    """Each target position reads the source, whose keys and values are projected once.

    Several targets of a source, in sequence, are read as one: see ``fold``.

    Args:
        d_model: D of input and output, a multiple of num_heads.
        d_memory: D' of the encoder's states.
        num_heads: H.
        dropout: on the attention weights.
    """

    def __init__(self, d_model: int, d_memory: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__(d_model, num_heads, dropout)
        self.query = nn.Linear(d_model, d_model)
        self.key = nn.Linear(d_memory, d_model)
        self.value = nn.Linear(d_memory, d_model)

    def project(self, states: Tensor, values: Tensor) -> KeyValue:
        """Keys of states (B, S, D'), values of values (B, S, D')."""
        kv = KeyValue(self._split(self.key(states)), self._split(self.value(values)))
        # A search multiplies them at each step, which would copy views each time (2.5 to 4 times as slow).
        return kv if self.training else KeyValue(kv.keys.contiguous(), kv.values.contiguous())

    def forward(
        self, x: Tensor, kv: KeyValue, bias: Tensor, need_weights: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Attend from x (B*K, T, D) to the source: (B*K, T, D) and, if asked for, the weights (B*K, H, T, S) before
        dropout.
        """
        q = self._split(self.query(fold(x, kv)))
        if not need_weights:
            return self._merge(self._attend(q, kv, bias)).view_as(x), None
        mean, weights = explicit_attention(q, kv, bias, self.dropout)
        return self._merge(mean).view_as(x), unfold(weights, x)
