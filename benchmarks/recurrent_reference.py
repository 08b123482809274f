"""Training steps of the recurrent families against plain torch networks of the same sizes, as tutorials write them.

    OMP_NUM_THREADS=1 python -m benchmarks.recurrent_reference [d ...]

The references use torch's layers, packed as the last state of a padded source needs it, and a Python loop over the
target where attention makes steps wait. Both are timed in turns in one process; what is printed is the ratio of the
fastest steps, ours / reference.
"""

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from s2s_lightning.batch import Batch
from s2s_lightning.families import GNMT, GRU, LSTM, RNN, Bahdanau, Luong
from s2s_lightning.module import Seq2SeqModule

VOCAB = 1000
DROPOUT = 0.1


class Fixed(nn.Module):
    """One vector: the encoder's last state starts the decoder, and enters each of its steps if it is ``fed``."""

    def __init__(self, layers: Callable[..., nn.RNNBase], d: int, fed: bool = False) -> None:
        super().__init__()
        self.src, self.tgt = nn.Embedding(VOCAB, d), nn.Embedding(VOCAB, d)
        self.encoder = layers(d, d, batch_first=True)
        self.decoder = layers(2 * d if fed else d, d, batch_first=True)
        self.dropout, self.fed = nn.Dropout(DROPOUT), fed
        self.readout = nn.Linear(d, VOCAB)

    def forward(self, src: Tensor, padding: Tensor, tgt: Tensor) -> Tensor:
        _, state = read(self.encoder, self.dropout(self.src(src)), padding)
        y = self.dropout(self.tgt(tgt))
        if self.fed:
            y = torch.cat([y, state[-1].unsqueeze(1).expand(-1, tgt.shape[1], -1)], -1)
        return self.readout(self.dropout(self.decoder(y, state)[0]))


class Attentive(nn.Module):
    """A bidirectional encoder and a loop over the target, one step of attention and recurrence each.

    Args:
        layers: nn.GRU or nn.LSTM.
        d: width.
        additive: attention by the last state (Bahdanau), otherwise by the new one, with input feeding (Luong).
    """

    def __init__(self, layers: Callable[..., nn.RNNBase], d: int, additive: bool) -> None:
        super().__init__()
        self.src, self.tgt = nn.Embedding(VOCAB, d), nn.Embedding(VOCAB, d)
        d_encoder = d if additive else d // 2
        self.encoder = layers(d, d_encoder, batch_first=True, bidirectional=True)
        self.decoder = layers(d + (2 * d if additive else d), d, batch_first=True)
        self.query, self.key = nn.Linear(d, d), nn.Linear(2 * d_encoder, d)
        self.v, self.additive = nn.Linear(d, 1), additive
        self.output = nn.Linear(d + 2 * d_encoder + (d if additive else 0), 2 * d if additive else d)
        self.bridge = nn.Linear(2 * d_encoder, d)
        self.readout, self.dropout = nn.Linear(d, VOCAB), nn.Dropout(DROPOUT)

    def forward(self, src: Tensor, padding: Tensor, tgt: Tensor) -> Tensor:
        states, last = read(self.encoder, self.dropout(self.src(src)), padding)
        keys, y = self.key(states), self.dropout(self.tgt(tgt))
        if self.additive:
            return self.bahdanau(states, keys, padding, y, last)
        state = tuple(torch.cat([*vector], -1).unsqueeze(0) for vector in last)
        fed, logits = torch.zeros_like(state[0][0]), []
        for t in range(y.shape[1]):
            h, state = self.decoder(torch.cat([y[:, t], fed], -1).unsqueeze(1), state)
            context = attend((h @ keys.mT).squeeze(1), states, padding)
            fed = torch.tanh(self.output(torch.cat([context, h.squeeze(1)], -1)))
            logits.append(self.readout(self.dropout(fed)))
        return torch.stack(logits, 1)

    def bahdanau(self, states: Tensor, keys: Tensor, padding: Tensor, y: Tensor, last: Tensor) -> Tensor:
        state, logits = torch.tanh(self.bridge(torch.cat([*last], -1))).unsqueeze(0), []
        for t in range(y.shape[1]):
            scores = self.v(torch.tanh(self.query(state[0]).unsqueeze(1) + keys)).squeeze(-1)
            context = attend(scores, states, padding)
            h, state = self.decoder(torch.cat([y[:, t], context], -1).unsqueeze(1), state)
            pairs = self.output(torch.cat([h.squeeze(1), y[:, t], context], -1))
            logits.append(self.readout(self.dropout(pairs.unflatten(-1, (-1, 2)).amax(-1))))
        return torch.stack(logits, 1)


class Deep(nn.Module):
    """GNMT, all layers of the decoder inside the loop."""

    def __init__(self, d: int, num_layers: int = 3) -> None:
        super().__init__()
        self.src, self.tgt = nn.Embedding(VOCAB, d), nn.Embedding(VOCAB, d)
        self.bottom = nn.LSTM(d, d // 2, batch_first=True, bidirectional=True)
        self.upper = nn.ModuleList(nn.LSTM(d, d, batch_first=True) for _ in range(num_layers - 1))
        self.decoder = nn.ModuleList(nn.LSTMCell(2 * d, d) for _ in range(num_layers))
        self.query, self.key, self.v = nn.Linear(d, d), nn.Linear(d, d), nn.Linear(d, 1)
        self.readout, self.dropout = nn.Linear(d, VOCAB), nn.Dropout(DROPOUT)

    def forward(self, src: Tensor, padding: Tensor, tgt: Tensor) -> Tensor:
        x, (h, c) = read(self.bottom, self.dropout(self.src(src)), padding)
        state = [(torch.cat([*h], -1), torch.cat([*c], -1))]
        for i, layer in enumerate(self.upper):
            states, (h, c) = read(layer, self.dropout(x), padding)
            x = x + states if i else states
            state.append((h[0], c[0]))
        keys, y, logits = self.key(x), self.dropout(self.tgt(tgt)), []
        for t in range(y.shape[1]):
            scores = self.v(torch.tanh(self.query(state[0][0]).unsqueeze(1) + keys)).squeeze(-1)
            context, below = attend(scores, x, padding), y[:, t]
            for i, cell in enumerate(self.decoder):
                state[i] = cell(torch.cat([self.dropout(below), context], -1), state[i])
                below = state[i][0] + below if i >= 2 else state[i][0]
            logits.append(self.readout(self.dropout(below)))
        return torch.stack(logits, 1)


def read(layers: nn.RNNBase, x: Tensor, padding: Tensor) -> tuple[Tensor, Any]:
    """The states (B, S, D) and the last state of each row's real part."""
    packed = pack_padded_sequence(x, (~padding).sum(1), batch_first=True, enforce_sorted=False)
    states, last = layers(packed)
    return pad_packed_sequence(states, batch_first=True, total_length=x.shape[1])[0], last


def attend(scores: Tensor, values: Tensor, padding: Tensor) -> Tensor:
    """Scores (B, S), values (B, S, D) -> their mean (B, D)."""
    weights = scores.masked_fill(padding, float("-inf")).softmax(-1)
    return torch.bmm(weights.unsqueeze(1), values).squeeze(1)


def pairs(d: int) -> Iterator[tuple[str, Seq2SeqModule, nn.Module]]:
    """Each family and its reference, d wide everywhere."""
    sizes: dict[str, Any] = {"src_vocab_size": VOCAB, "d_embedding": d, "d_model": d, "dropout": DROPOUT}
    one = {**sizes, "num_layers": 1}
    yield "rnn", RNN(**one), Fixed(nn.RNN, d)
    yield "lstm", LSTM(**one), Fixed(nn.LSTM, d)
    yield "gru", GRU(**one), Fixed(nn.GRU, d, fed=True)
    yield "bahdanau", Bahdanau(**one, d_score=d, d_maxout=d), Attentive(nn.GRU, d, additive=True)
    yield "luong", Luong(**one), Attentive(nn.LSTM, d, additive=False)
    yield "gnmt", GNMT(**sizes, d_score=d), Deep(d)


def random_batch(rows: int = 64, length: int = 20) -> Batch:
    """Random ids; a quarter of the sources is shorter."""
    src, tgt = torch.randint(4, VOCAB, (2, rows, length))
    padding = torch.zeros_like(src, dtype=torch.bool)
    padding[::4, -4:] = True
    src = src.masked_fill(padding, 0)
    return Batch(src, padding, tgt, tgt.roll(-1, 1), torch.tensor(float(tgt.numel())), torch.arange(rows))


def ratio(module: Seq2SeqModule, reference: nn.Module, batch: Batch, rounds: int = 5) -> tuple[float, float]:
    """Seconds of the fastest training step of ours and of the reference, timed in turns."""

    def ours() -> Tensor:
        return module.objective(module.model, batch).sum / batch.tgt_out.numel()

    def theirs() -> Tensor:
        logits = reference(batch.src, batch.src_padding, batch.tgt_in)
        return F.cross_entropy(logits.flatten(0, 1), batch.tgt_out.flatten())

    module.train()
    steps = [(ours, module), (theirs, reference)]
    optimizers = [torch.optim.AdamW(network.parameters(), fused=True) for _, network in steps]
    best = [float("inf")] * 2
    for _ in range(rounds):
        for k, (loss, _) in enumerate(steps):
            begun = time.perf_counter()
            optimizers[k].zero_grad()
            loss().backward()
            optimizers[k].step()
            best[k] = min(best[k], time.perf_counter() - begun)
    return best[0], best[1]


def main() -> None:
    batch = random_batch()
    print("| d | family | ours, ms | reference, ms | ratio |\n| --- | --- | --- | --- | --- |")
    for d in map(int, sys.argv[1:] or (128, 256)):
        for name, module, reference in pairs(d):
            ours, theirs = ratio(module, reference, batch)
            print(f"| {d} | {name} | {1000 * ours:.0f} | {1000 * theirs:.0f} | {ours / theirs:.2f} |", flush=True)


if __name__ == "__main__":
    main()
