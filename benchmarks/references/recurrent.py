"""Recurrent encoder-decoders: torch's layers, and a loop over the target wherever attention makes steps wait."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.references.networks import Reference, Sizes, attend, read
from s2s_lightning import PAD
from s2s_lightning.model import Batch


class FixedVector(Reference):
    """The encoder's last state starts the decoder, and enters each of its steps if it is ``fed``."""

    def __init__(self, sizes: Sizes, layers: Callable[..., nn.RNNBase], *, fed: bool = False) -> None:
        e, d, n = sizes.d_embedding, sizes.d_model, sizes.num_layers
        super().__init__(sizes, d)
        between = sizes.dropout if n > 1 else 0.0
        self.encoder = layers(e, d, n, batch_first=True, dropout=between)
        self.decoder = layers(e + d if fed else e, d, n, batch_first=True, dropout=between)
        self.context = nn.Linear(d, d) if fed else None

    def forward(self, src: Tensor, padding: Tensor, tgt: Tensor) -> Tensor:
        _, state = read(self.encoder, self.dropout(self.src(src)), padding)
        y = self.dropout(self.tgt(tgt))
        if self.context is not None:
            state = torch.tanh(self.context(state))
            y = torch.cat([y, state[-1].unsqueeze(1).expand(-1, y.shape[1], -1)], -1)
        return self.readout(self.dropout(self.decoder(y, state)[0]))


class LuongDecoder(nn.Module):
    """LSTM cell, general attention, input feeding, one step after the other: from y (B, T, E) to (B, T, D)."""

    def __init__(self, d_embedding: int, d_memory: int, d_model: int, dropout: float) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(d_embedding + d_model, d_model)
        self.key = nn.Linear(d_memory, d_model, bias=False)
        self.output = nn.Linear(d_memory + d_model, d_model, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, y: Tensor, states: Tensor, padding: Tensor, state: tuple[Tensor, Tensor]) -> Tensor:
        keys, fed, outputs = self.key(states), torch.zeros_like(state[0]), []
        for t in range(y.shape[1]):
            state = self.cell(torch.cat([y[:, t], fed], -1), state)
            h = self.dropout(state[0])
            context, _ = attend(torch.bmm(keys, h.unsqueeze(-1)).squeeze(-1), states, padding)
            fed = torch.tanh(self.output(torch.cat([context, h], -1)))
            outputs.append(self.dropout(fed))
        return torch.stack(outputs, 1)


class Luong(Reference):
    """A bidirectional LSTM under ``LuongDecoder``."""

    def __init__(self, sizes: Sizes) -> None:
        d = sizes.d_model
        super().__init__(sizes, d)
        self.encoder = nn.LSTM(sizes.d_embedding, d // 2, batch_first=True, bidirectional=True)
        self.decoder = LuongDecoder(sizes.d_embedding, d, d, sizes.dropout)

    def forward(self, src: Tensor, padding: Tensor, tgt: Tensor) -> Tensor:
        states, last = read(self.encoder, self.dropout(self.src(src)), padding)
        h, c = (torch.cat([*vector], -1) for vector in last)
        return self.readout(self.decoder(self.dropout(self.tgt(tgt)), states, padding, (h, c)))


class Hybrid(Reference):
    """torch's Transformer encoder under ``LuongDecoder``."""

    def __init__(self, sizes: Sizes) -> None:
        e, d = sizes.d_embedding, sizes.decoder.d_model
        sizes.dropout = sizes.decoder.dropout
        super().__init__(sizes, d)
        encoder = sizes.encoder.layers
        layer = nn.TransformerEncoderLayer(e, 4, encoder["d_ff"], encoder["dropout"], batch_first=True, norm_first=True)
        layer.self_attn.dropout, layer.dropout.p = 0.0, 0.0
        self.encoder = nn.TransformerEncoder(layer, sizes.encoder.num_layers, nn.LayerNorm(e), False)
        self.encoder_dropout = nn.Dropout(encoder["dropout"])
        self.decoder = LuongDecoder(e, e, d, sizes.decoder.dropout)
        self.bridge = nn.Linear(e, 2 * d)

    def forward(self, src: Tensor, padding: Tensor, tgt: Tensor) -> Tensor:
        states = self.encoder(self.encoder_dropout(self.src(src)), src_key_padding_mask=padding)
        mean = states.masked_fill(padding.unsqueeze(-1), 0).sum(1) / (~padding).sum(1, keepdim=True)
        h, c = torch.tanh(self.bridge(mean)).chunk(2, -1)
        return self.readout(self.decoder(self.dropout(self.tgt(tgt)), states, padding, (h, c)))


class Bahdanau(Reference):
    """Additive attention by the last state, a GRU cell, maxout and readout, one step after the other."""

    def __init__(self, sizes: Sizes) -> None:
        e, d, a, m = sizes.d_embedding, sizes.d_model, sizes.d_score, sizes.d_maxout
        super().__init__(sizes, m)
        self.encoder = nn.GRU(e, d, batch_first=True, bidirectional=True)
        self.bridge = nn.Linear(2 * d, d)
        self.query, self.key, self.v = nn.Linear(d, a, bias=False), nn.Linear(2 * d, a), nn.Linear(a, 1, bias=False)
        self.cell = nn.GRUCell(e + 2 * d, d)
        self.maxout = nn.Linear(d + e + 2 * d, 2 * m)

    def forward(self, src: Tensor, padding: Tensor, tgt: Tensor) -> Tensor:
        states, last = read(self.encoder, self.dropout(self.src(src)), padding)
        keys, y = self.key(states), self.dropout(self.tgt(tgt))
        s, logits = torch.tanh(self.bridge(torch.cat([*last], -1))), []
        for t in range(y.shape[1]):
            scores = self.v(torch.tanh(self.query(s).unsqueeze(1) + keys)).squeeze(-1)
            context, _ = attend(scores, states, padding)
            s = self.cell(torch.cat([y[:, t], context], -1), s)
            pairs = self.maxout(torch.cat([s, y[:, t], context], -1))
            logits.append(self.readout(self.dropout(pairs.unflatten(-1, (-1, 2)).amax(-1))))
        return torch.stack(logits, 1)


class GNMT(Reference):
    """Stacks with residual connections; all layers of the decoder are inside the loop."""

    def __init__(self, sizes: Sizes) -> None:
        e, d, a, n = sizes.d_embedding, sizes.d_model, sizes.d_score, sizes.num_layers
        super().__init__(sizes, d)
        self.bottom = nn.LSTM(e, d // 2, batch_first=True, bidirectional=True)
        self.upper = nn.ModuleList(nn.LSTM(d, d, batch_first=True) for _ in range(n - 1))
        self.cells = nn.ModuleList(nn.LSTMCell((d if i else e) + d, d) for i in range(n))
        self.query, self.key, self.v = nn.Linear(d, a, bias=False), nn.Linear(d, a), nn.Linear(a, 1, bias=False)

    def forward(self, src: Tensor, padding: Tensor, tgt: Tensor) -> Tensor:
        x, last = read(self.bottom, self.dropout(self.src(src)), padding)
        state = [tuple(torch.cat([*vector], -1) for vector in last)]
        for i, layer in enumerate(self.upper):
            states, last = read(layer, self.dropout(x), padding)
            x = x + states if i else states
            state.append(tuple(vector[0] for vector in last))
        keys, y, logits = self.key(x), self.dropout(self.tgt(tgt)), []
        for t in range(y.shape[1]):
            scores = self.v(torch.tanh(self.query(state[0][0]).unsqueeze(1) + keys)).squeeze(-1)
            (context, _), below = attend(scores, x, padding), y[:, t]
            for i, cell in enumerate(self.cells):
                state[i] = cell(torch.cat([self.dropout(below) if i else below, context], -1), state[i])
                below = state[i][0] + below if i >= 2 else state[i][0]
            logits.append(self.readout(self.dropout(below)))
        return torch.stack(logits, 1)


class Pointer(Reference):
    """A loop of coverage attention; a softmax, and scatter_add of the attention to B x T x (V + S) probabilities.

    The source's words are taken to be in no vocabulary: the one at position i is V + i.
    """

    def __init__(self, sizes: Sizes) -> None:
        e, d, a = sizes.d_embedding, sizes.d_model, sizes.d_score
        super().__init__(sizes, d)
        self.encoder = nn.LSTM(e, d, batch_first=True, bidirectional=True)
        self.bridge = nn.ModuleList(nn.Linear(2 * d, d) for _ in range(2))
        self.decoder = nn.LSTM(e, d, batch_first=True)
        self.query, self.key, self.v = nn.Linear(d, a), nn.Linear(2 * d, a, bias=False), nn.Linear(a, 1, bias=False)
        self.coverage = nn.Linear(1, a, bias=False)
        self.output, self.gate = nn.Linear(3 * d, d), nn.Linear(3 * d + e, 1)

    def forward(self, src: Tensor, padding: Tensor, tgt: Tensor) -> Tensor:
        """Log-probabilities (B, T, V + S)."""
        states, last = read(self.encoder, self.dropout(self.src(src)), padding)
        first = [torch.tanh(bridge(torch.cat([*v], -1))) for bridge, v in zip(self.bridge, last, strict=True)]
        y, keys = self.dropout(self.tgt(tgt)), self.key(states)
        s = self.dropout(self.decoder(y, tuple(vector.unsqueeze(0) for vector in first))[0])
        coverage, contexts, attention = torch.zeros_like(states[..., 0]), [], []
        for q in self.query(s).unbind(1):
            scores = self.v(torch.tanh(keys + q.unsqueeze(1) + self.coverage(coverage.unsqueeze(-1)))).squeeze(-1)
            context, weights = attend(scores, states, padding)
            coverage = coverage + weights
            contexts.append(context)
            attention.append(weights)
        found = torch.cat([s, torch.stack(contexts, 1)], -1)
        p_gen = torch.sigmoid(self.gate(torch.cat([found, y], -1)))
        p_word = p_gen * self.readout(self.dropout(self.output(found))).softmax(-1)
        places = self.readout.out_features + torch.arange(src.shape[1])
        copied = (1 - p_gen) * torch.stack(attention, 1)
        p = F.pad(p_word, (0, src.shape[1])).scatter_add(2, places.expand_as(copied), copied)
        return (p + 1e-12).log()

    def loss(self, batch: Batch) -> Tensor:
        log_probs = self(batch.src, batch.src_padding, batch.tgt_in).flatten(0, 1)
        return F.nll_loss(log_probs, batch.tgt_out.flatten(), ignore_index=PAD, reduction="sum")
