"""What the reference networks share: embeddings, readout and loss, and pre-norm blocks around any layer.

They are written as one writes such networks from papers and tutorials, of torch's own parts; no module of the framework
is in them. Their sizes are the settings of a configuration.
"""

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from s2s_lightning import PAD
from s2s_lightning.model import Batch

Sizes = SimpleNamespace
"""The settings of a configuration's model, its defaults included, with ``vocab_size`` and the batch's ``length``."""


class Reference(nn.Module):
    """Embeddings of both sides, a readout of its own, cross-entropy over the full logits.

    Args:
        sizes: of the family.
        d_out: width of what the readout reads.
    """

    def __init__(self, sizes: Sizes, d_out: int) -> None:
        super().__init__()
        d_embedding = getattr(sizes, "d_embedding", None) or sizes.d_model
        self.src = nn.Embedding(sizes.vocab_size, d_embedding, padding_idx=PAD)
        self.tgt = nn.Embedding(sizes.vocab_size, d_embedding, padding_idx=PAD)
        self.dropout = nn.Dropout(sizes.dropout)
        self.readout = nn.Linear(d_out, sizes.vocab_size)

    def loss(self, batch: Batch) -> Tensor:
        """The sum over real tokens."""
        logits = self(batch.src, batch.src_padding, batch.tgt_in).flatten(0, 1)
        return F.cross_entropy(logits, batch.tgt_out.flatten(), ignore_index=PAD, reduction="sum")


class Sinusoids(nn.Module):
    """Adds a vector of sines and cosines to each position."""

    def __init__(self, d_model: int, longest: int = 1024) -> None:
        super().__init__()
        angle = torch.arange(longest).unsqueeze(1) / 10000 ** (torch.arange(0, d_model, 2) / d_model)
        self.register_buffer("table", torch.stack((angle.sin(), angle.cos()), -1).flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table[: x.shape[1]]


class EncoderBlock(nn.Module):
    """A layer and a feed-forward layer, pre-norm."""

    def __init__(self, mixer: nn.Module, sizes: Sizes, norm: type[nn.Module], activation: type[nn.Module]) -> None:
        super().__init__()
        self.mixer, self.mixer_norm = mixer, norm(sizes.d_model)
        self.inner, self.outer = nn.Linear(sizes.d_model, sizes.d_ff), nn.Linear(sizes.d_ff, sizes.d_model)
        self.feed_forward_norm, self.activation = norm(sizes.d_model), activation()
        self.dropout = nn.Dropout(sizes.dropout)

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        x = x + self.dropout(self.mixer(self.mixer_norm(x), padding))
        return self.feed_forward(x)

    def feed_forward(self, x: Tensor) -> Tensor:
        return x + self.dropout(self.outer(self.activation(self.inner(self.feed_forward_norm(x)))))


class DecoderBlock(EncoderBlock):
    """The same with attention over the source between the two."""

    def __init__(self, mixer: nn.Module, sizes: Sizes, norm: type[nn.Module], activation: type[nn.Module]) -> None:
        super().__init__(mixer, sizes, norm, activation)
        self.attention_norm = norm(sizes.d_model)
        self.attention = nn.MultiheadAttention(sizes.d_model, sizes.num_heads, batch_first=True)

    def forward(self, y: Tensor, memory: Tensor, padding: Tensor) -> Tensor:
        y = y + self.dropout(self.mixer(self.mixer_norm(y), None))
        z, _ = self.attention(self.attention_norm(y), memory, memory, key_padding_mask=padding, need_weights=False)
        return self.feed_forward(y + self.dropout(z))


class Blocks(Reference):
    """An encoder and a decoder of blocks.

    Args:
        sizes: of the family.
        encoder: one layer a block, called with x (B, S, D) and padding (B, S).
        decoder: one layer a block, called with y (B, T, D) and None; causal.
        norm: of the blocks.
        activation: of the feed-forward layers.
        positions: sinusoids are added to the embeddings.
    """

    def __init__(
        self,
        sizes: Sizes,
        encoder: Iterable[nn.Module],
        decoder: Iterable[nn.Module],
        *,
        norm: type[nn.Module] = nn.LayerNorm,
        activation: type[nn.Module] = nn.ReLU,
        positions: bool = False,
    ) -> None:
        super().__init__(sizes, sizes.d_model)
        self.encoder = nn.ModuleList(EncoderBlock(mixer, sizes, norm, activation) for mixer in encoder)
        self.decoder = nn.ModuleList(DecoderBlock(mixer, sizes, norm, activation) for mixer in decoder)
        self.encoder_norm, self.decoder_norm = norm(sizes.d_model), norm(sizes.d_model)
        self.positions = Sinusoids(sizes.d_model) if positions else nn.Identity()

    def forward(self, src: Tensor, padding: Tensor, tgt: Tensor) -> Tensor:
        x, y = (self.dropout(self.positions(z)) for z in (self.src(src), self.tgt(tgt)))
        for block in self.encoder:
            x = block(x, padding)
        x = self.encoder_norm(x)
        for block in self.decoder:
            y = block(y, x, padding)
        return self.readout(self.decoder_norm(y))


class BothWays(nn.Module):
    """Two layers, one of which reads back to front; their outputs are added, or put side by side."""

    def __init__(self, new_layer: Callable[[], nn.Module], *, add: bool) -> None:
        super().__init__()
        self.ahead, self.back, self.add = new_layer(), new_layer(), add

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        x = x.masked_fill(padding.unsqueeze(-1), 0)
        ahead, back = self.ahead(x, padding), self.back(x.flip(1), padding.flip(1)).flip(1)
        return ahead + back if self.add else torch.cat([ahead, back], -1)


def read(layers: nn.RNNBase, x: Tensor, padding: Tensor) -> tuple[Tensor, Any]:
    """The states (B, S, D) of a padded source and the last state of each row's real part."""
    packed = pack_padded_sequence(x, (~padding).sum(1), batch_first=True, enforce_sorted=False)
    states, last = layers(packed)
    return pad_packed_sequence(states, batch_first=True, total_length=x.shape[1])[0], last


def attend(scores: Tensor, values: Tensor, padding: Tensor) -> tuple[Tensor, Tensor]:
    """Scores (B, S), values (B, S, D) -> their mean (B, D) and the weights (B, S)."""
    weights = scores.masked_fill(padding, float("-inf")).softmax(-1)
    return torch.bmm(weights.unsqueeze(1), values).squeeze(1), weights


def with_dropout(linear: nn.Module, dropout: float) -> nn.Module:
    """A layer whose output is dropped from, for networks that have no dropout of their own."""
    return nn.Sequential(linear, nn.Dropout(dropout))
