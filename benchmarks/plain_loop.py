"""The Transformer in a plain PyTorch loop, as one writes it from the tutorials: what the framework is measured against.

``tuned`` is the same loop with everything the framework gains its speed by: its network, its fused loss, fused AdamW.
"""

import itertools
import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from s2s_lightning import BOS, PAD
from s2s_lightning.families import Transformer
from s2s_lightning.nn.linear_cross_entropy import linear_cross_entropy

Pair = tuple[Tensor, Tensor]
MAX_TOKENS = 4096
"""Of a batch: sentences times the longest."""


class Sizes(NamedTuple):
    """Of the network and its updates; dropout acts on embeddings and on what each layer adds."""

    vocab_size: int
    d_model: int = 128
    d_ff: int = 256
    num_heads: int = 4
    num_layers: int = 4
    dropout: float = 0.3
    label_smoothing: float = 0.1
    lr: float = 1e-3
    max_norm: float = 1.0


class PlainTransformer(nn.Module):
    """``nn.Transformer``, pre-norm, with tied embeddings and readout."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        d_model = sizes.d_model
        self.embedding = nn.Embedding(sizes.vocab_size, d_model, padding_idx=PAD)
        nn.init.normal_(self.embedding.weight, std=d_model**-0.5)
        self.bias = nn.Parameter(torch.zeros(sizes.vocab_size))
        self.transformer = nn.Transformer(
            d_model,
            sizes.num_heads,
            sizes.num_layers,
            sizes.num_layers,
            sizes.d_ff,
            sizes.dropout,
            batch_first=True,
            norm_first=True,
        )
        for module in self.transformer.modules():  # the framework's default: none within attention and feed-forward
            if isinstance(module, nn.MultiheadAttention):
                module.dropout = 0.0
            if isinstance(module, nn.TransformerEncoderLayer | nn.TransformerDecoderLayer):
                module.dropout.p = 0.0
        angle = torch.arange(1000).unsqueeze(1) / 10000 ** (torch.arange(0, d_model, 2) / d_model)
        self.register_buffer("positions", torch.stack((angle.sin(), angle.cos()), -1).flatten(1))
        self.dropout = nn.Dropout(sizes.dropout)

    def embed(self, ids: Tensor) -> Tensor:
        x = self.embedding(ids) * self.embedding.embedding_dim**0.5
        return self.dropout(x + self.positions[: ids.shape[1]])

    def forward(self, src: Tensor, tgt_in: Tensor) -> Tensor:
        padding = src == PAD
        hidden = self.transformer(
            self.embed(src),
            self.embed(tgt_in),
            tgt_mask=nn.Transformer.generate_square_subsequent_mask(tgt_in.shape[1]),
            src_key_padding_mask=padding,
            memory_key_padding_mask=padding,
            tgt_is_causal=True,
        )
        return F.linear(hidden, self.embedding.weight, self.bias)


def batches(pairs: list[Pair]) -> Iterator[Pair]:
    """An epoch of (src, tgt), both with EOS and padded: sorted by length, cut to the budget, in random order."""
    order = sorted(random.sample(range(len(pairs)), len(pairs)), key=lambda i: [len(x) for x in reversed(pairs[i])])
    rows: list[list[int]] = [[]]
    longest = 0
    for i in order:
        longest = max(longest, *map(len, pairs[i]))
        if longest * (len(rows[-1]) + 1) > MAX_TOKENS:
            rows.append([])
            longest = max(map(len, pairs[i]))
        rows[-1].append(i)
    for batch in random.sample(rows, len(rows)):
        src, tgt = (pad_sequence(list(side), True, PAD) for side in zip(*(pairs[i] for i in batch), strict=True))
        yield src, tgt


def train(
    network: nn.Module,
    loss: Callable[[Tensor, Tensor, Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    pairs: list[Pair],
    sizes: Sizes,
) -> Iterator[int]:
    """Train for ever, giving each batch's real target tokens; ``loss(src, tgt_in, tgt_out)`` sums over tokens."""
    network.train()
    for src, tgt in itertools.chain.from_iterable(batches(pairs) for _ in itertools.count()):
        tgt_in = F.pad(tgt[:, :-1], (1, 0), value=BOS)
        tokens = int((tgt != PAD).sum())
        optimizer.zero_grad()
        (loss(src, tgt_in, tgt) / tokens).backward()
        nn.utils.clip_grad_norm_(network.parameters(), sizes.max_norm)
        optimizer.step()
        yield tokens


def plain(pairs: list[Pair], sizes: Sizes) -> Iterator[int]:
    """A Transformer, dropout and cross-entropy of torch's own, Adam."""
    network = PlainTransformer(sizes)

    def loss(src: Tensor, tgt_in: Tensor, tgt_out: Tensor) -> Tensor:
        logits = network(src, tgt_in).flatten(0, 1)
        return F.cross_entropy(
            logits,
            tgt_out.flatten(),
            ignore_index=PAD,
            label_smoothing=sizes.label_smoothing,
            reduction="sum",
        )

    return train(network, loss, torch.optim.Adam(network.parameters(), sizes.lr), pairs, sizes)


def tuned(pairs: list[Pair], sizes: Sizes) -> Iterator[int]:
    """The framework's network and loss, fused AdamW."""
    network = framework_module(sizes).model

    def loss(src: Tensor, tgt_in: Tensor, tgt_out: Tensor) -> Tensor:
        output = network(tgt_in, network.start(src, src == PAD))
        readout = network.readout
        return linear_cross_entropy(output.hidden, readout.weight, readout.bias, tgt_out, sizes.label_smoothing).sum

    optimizer = torch.optim.AdamW(network.parameters(), sizes.lr, fused=True)
    return train(network, loss, optimizer, pairs, sizes)


def framework_module(sizes: Sizes) -> Transformer:
    """The same network as a LightningModule."""
    return Transformer(
        sizes.vocab_size,
        d_model=sizes.d_model,
        num_heads=sizes.num_heads,
        d_ff=sizes.d_ff,
        num_encoder_layers=sizes.num_layers,
        num_decoder_layers=sizes.num_layers,
        dropout=sizes.dropout,
    )
