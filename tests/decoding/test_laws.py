"""Laws 3, 10 and 11 for every search, on a table and on a network with attention."""

import pytest
import torch
from torch import Tensor, nn

from s2s_lightning import BOS, EOS
from s2s_lightning.decoding import GNMT, Average, Beam, Decoding, DiverseBeam, Greedy
from s2s_lightning.model import (
    Decoder,
    DecoderOutput,
    Encoder,
    Memory,
    MemoryShape,
    Seq2Seq,
    State,
    assemble,
    masked_mean,
)
from tests.decoding.fakes import Table, assert_same, padded, sources

TIGHT = {"max_length_ratio": 0.5, "max_length_offset": 3}
"""Limits that cut some hypotheses and not others."""

SEARCHES: dict[str, Decoding] = {
    "greedy": Greedy(min_length=2, **TIGHT),
    "beam": Beam(3, n_best=3, **TIGHT),
    "average": Beam(4, n_best=4, length_penalty=Average(), **TIGHT),
    "gnmt wider than the vocabulary": Beam(20, n_best=3, length_penalty=GNMT(), min_length_ratio=0.4, **TIGHT),
    "rules": Beam(3, n_best=2, no_repeat_ngram=2, repetition_penalty=1.3, **TIGHT),
    "diverse": DiverseBeam(4, num_groups=2, n_best=4, length_penalty=Average(), **TIGHT),
}


class MeanEncoder(Encoder):
    """The embeddings are the states; their mean is the summary."""

    shape = MemoryShape(6, (1, 6))

    def forward(self, x: Tensor, padding: Tensor) -> Memory:
        return Memory(x, x, padding, masked_mean(x, padding))


class AttentiveGRU(Decoder):
    """A GRU from the summary, and dot-product attention over the states."""

    d_out = 6

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(6, 6, batch_first=True)

    def start(self, memory: Memory) -> State:
        return State(memory, memory.summary)

    def forward(self, y: Tensor, state: State, need_weights: bool = False) -> DecoderOutput:
        memory, hidden = state
        queries, last = self.gru(y, hidden.transpose(0, 1).contiguous())
        scores = queries @ memory.states.transpose(1, 2)
        weights = scores.masked_fill(memory.padding.unsqueeze(1), -torch.inf).softmax(-1)
        attention = weights[:, None, None] if need_weights else None
        return DecoderOutput(queries + weights @ memory.values, State(memory, last.transpose(0, 1)), attention)


def gru() -> Seq2Seq:
    """Random, in float64, with embeddings large enough for outputs to differ."""
    torch.manual_seed(0)
    sizes = {"src_vocab_size": 9, "tgt_vocab_size": 8, "d_embedding": 6, "embedding_std": 1.2}
    model = assemble(MeanEncoder(), AttentiveGRU(), tie_embeddings="readout", **sizes).double().eval()
    nn.init.constant_(model.readout.bias[EOS], 1.0)
    return model


@pytest.fixture(params=[Table, gru])
def model(request: pytest.FixtureRequest) -> Table | Seq2Seq:
    """A table of log-probabilities, then a network."""
    return request.param()


@pytest.fixture(params=SEARCHES.values(), ids=SEARCHES)
def search(request: pytest.FixtureRequest) -> Decoding:
    """Each search in turn."""
    return request.param


def test_a_sentence_decodes_alike_alone_in_any_batch_and_in_any_order(model: Table | Seq2Seq, search: Decoding) -> None:
    rows = sources(9)
    together = search(model, *padded(rows))
    backwards = search(model, *padded(rows[::-1], extra=4))[::-1]
    for row, found, other in zip(rows, together, backwards, strict=True):
        assert_same(found, other)
        assert_same(found, search(model, *padded([row]))[0])


def test_log_prob_is_that_of_force_decoding(model: Table | Seq2Seq, search: Decoding) -> None:
    rows = sources(9)
    found = search(model, *padded(rows))
    assert {h.finished for hypotheses in found for h in hypotheses} == {True, False}
    for row, hypotheses in zip(rows, found, strict=True):
        for h in hypotheses:
            emitted = [*h.tokens, *[EOS] * h.finished]
            assert h.log_prob == pytest.approx(force_decode(model, row, emitted), abs=1e-9)


def test_hypotheses_are_distinct_and_sorted_words(model: Table | Seq2Seq, search: Decoding) -> None:
    for hypotheses in search(model, *padded(sources(9))):
        scores = [h.score for h in hypotheses]
        assert scores == sorted(scores, reverse=True)
        assert len({(*h.tokens, h.finished) for h in hypotheses}) == len(hypotheses) > 0
        assert all(token > EOS for h in hypotheses for token in h.tokens)


def test_a_batch_of_empty_sources_is_searched(model: Table | Seq2Seq, search: Decoding) -> None:
    first, *others = search(model, *padded([[EOS]] * 3))
    for other in others:
        assert_same(other, first)


@torch.no_grad()
def force_decode(model: Table | Seq2Seq, row: list[int], emitted: list[int]) -> float:
    """The log-probability of ``emitted``, token by token."""
    state, total = model.start(*padded([row])), 0.0
    for last, token in zip([BOS, *emitted], emitted, strict=False):
        step = model.step(torch.tensor([[last]]), state)
        state = step.state
        total += step.log_probs[0, 0, token].item()
    return total
