"""Pointer-generator network with coverage: it writes words, or copies them from the source (See et al., 2017).

Shape letters: B batch, S source, T target, E embedding, D memory, H decoder, A inside of the score, V vocabulary.
"""

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, logsigmoid, pad

from s2s_lightning import EOS, UNK
from s2s_lightning.errors import check_at_least
from s2s_lightning.families.rnn import RecurrentEncoder
from s2s_lightning.model import (
    Decoder,
    DecoderOutput,
    Memory,
    MemoryShape,
    Readout,
    State,
    Tie,
    assemble,
)
from s2s_lightning.nn.alignment import AttentionContext, CoverageAttention
from s2s_lightning.nn.bridge import bridge
from s2s_lightning.nn.dropout import Dropout
from s2s_lightning.nn.linear_cross_entropy import CrossEntropy, mixture_cross_entropy
from s2s_lightning.nn.recurrence import Recurrence
from s2s_lightning.nn.scan import single
from s2s_lightning.training.module import Seq2SeqModule


class PointerGenerator(Readout):
    """P(w) = p_gen P_vocab(w) + (1 - p_gen) sum_{i: w_i = w} a_i (See et al., 2017, arXiv:1704.04368).

    P_vocab = softmax(W h + b), p_gen = sigmoid(gate), a is the mean attention over the decoder's layers and heads. Ids
    from V on are words that no vocabulary has: V + i is the source's at position i, where it stands first. The source
    ends in EOS, so that ending may be copied too.

    Smoothing is that of P_vocab (``mixture_cross_entropy``): a copy has no vocabulary to be smoothed over.

    Args:
        weight: W (V, H); it may be the target embedding.
        joint: one vocabulary serves both sides. Without prepared ids to copy (``data.copy``) a source token then stands
            for its own id, and otherwise for V + the first position of its id in the row.
    """

    normalised = True
    needs_attention = True
    weight: Tensor

    def __init__(self, weight: Tensor, joint: bool) -> None:
        super().__init__()
        self.weight = weight
        self.bias = nn.Parameter(torch.zeros(len(weight)))
        self.joint = joint

    def source(self, src: Tensor, src_copy: Tensor | None) -> Tensor:
        if src_copy is not None:
            return src_copy
        if self.joint:
            return src
        return torch.where(src <= EOS, src, len(self.weight) + first_places(src))

    def known(self, ids: Tensor) -> Tensor:
        return torch.where(ids < len(self.weight), ids, UNK)

    def forward(self, output: DecoderOutput, src: Tensor) -> Tensor:
        """Log-probabilities (B, T, V + S); the attention to a word is summed at its first place."""
        log_gen, log_copy, attention = mixture(output)
        first, places = first_places(src), torch.arange(src.shape[1], device=src.device)
        mass = torch.zeros_like(attention).scatter_add(2, first.unsqueeze(1).expand_as(attention), attention)
        copied = (log_copy.unsqueeze(-1) + log(mass)).masked_fill(mass == 0, -torch.inf)
        logits = linear(output.hidden, self.weight, self.bias).to(attention.dtype)
        scores = pad(logits.log_softmax(-1) + log_gen.unsqueeze(-1), (0, src.shape[1]), value=-torch.inf)
        # A later place of a word goes to a column that is nobody's, so that no two write to one: gradients rest on it.
        ids = torch.where(first == places, src, len(self.weight) + places).unsqueeze(1).expand_as(mass)
        return scores.scatter(2, ids, torch.logaddexp(scores.gather(2, ids), copied))

    def cross_entropy(self, output: DecoderOutput, src: Tensor, target: Tensor, label_smoothing: float) -> CrossEntropy:
        log_gen, log_copy, attention = mixture(output)
        mass = (attention * (src.unsqueeze(1) == target.unsqueeze(2))).sum(-1)
        # What the vocabulary can write needs no copy: a floor would hide how improbable it is, and turn its gradient.
        log_mass = torch.where(target < len(self.weight), exact_log(mass), log(mass))
        log_rest = log_copy + log_mass
        return mixture_cross_entropy(output.hidden, self.weight, self.bias, log_gen, log_rest, target, label_smoothing)


def first_places(ids: Tensor) -> Tensor:
    """Return the first place of each id in its row: (B, S) -> (B, S). Sorted, for each step of a search needs it."""
    values, order = ids.sort(stable=True)
    begins = torch.ones_like(values, dtype=torch.bool)
    begins[:, 1:] = values[:, 1:] != values[:, :-1]
    begin = torch.where(begins, torch.arange(ids.shape[1], device=ids.device), 0).cummax(1).values
    return torch.empty_like(order).scatter(1, order, order.gather(1, begin))


def mixture(output: DecoderOutput) -> tuple[Tensor, Tensor, Tensor]:
    """The logarithms of p_gen and 1 - p_gen (B, T), and what is pointed at (B, T, S), in float32 at least."""
    assert output.attention is not None
    assert output.gate is not None
    attention = single(output.attention).mean((1, 2))
    gate = output.gate.to(attention.dtype)
    return logsigmoid(gate), logsigmoid(-gate), attention


def exact_log(mass: Tensor) -> Tensor:
    """-inf where the mass is 0, with no gradient there."""
    nothing = mass == 0
    return mass.masked_fill(nothing, 1.0).log().masked_fill(nothing, -torch.inf)


def log(mass: Tensor) -> Tensor:
    """Return the logarithm, of the least positive number where the mass is 0, so that gradients are finite."""
    return mass.clamp_min(torch.finfo(mass.dtype).tiny).log()


class PointerCarry(NamedTuple):
    """The LSTM's state (B, 2, H) and the coverage (B, S)."""

    recurrent: Tensor
    coverage: Tensor


class PointerDecoder(Decoder):
    """An LSTM layer whose state looks for a context, minding where it has looked (See et al., 2017).

    hidden = V [s_t; h*_t] + b with h*_t = sum_i a_ti h_i
    gate = w_h . h*_t + w_s . s_t + w_x . y_t + b, of which p_gen is the sigmoid

    The LSTM reads the embedding alone, so that it runs over the whole target in one call; the authors' program
    (github.com/abisee/pointer-generator) also feeds it the last context. Below a readout that does not copy there is no
    gate.

    Args:
        d_embedding: width E of the target embedding.
        memory: what the encoder hands over.
        d_model: width H of the LSTM and of the hidden states.
        d_score: width A inside the score.
        coverage: whether the score reads the coverage.
        dropout: probability, on the embeddings, on the LSTM's output and on the hidden states.
    """

    def __init__(
        self,
        d_embedding: int,
        memory: MemoryShape,
        d_model: int = 256,
        *,
        d_score: int = 256,
        coverage: bool = True,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        check_at_least(1, d_score=d_score)
        self.recurrence = Recurrence("lstm", d_embedding, d_model, 1)
        self.bridge = bridge(memory.summary, self.recurrence.state_shape)
        self.attention = CoverageAttention(d_model, memory.d_states, d_score, coverage)
        self.output = nn.Linear(d_model + memory.d_states, d_model)
        gate = nn.Linear(d_model + memory.d_states + d_embedding, 1)
        for layer in (self.output, gate):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.gate: nn.Linear | None = gate
        self.dropout = Dropout(dropout)
        self.d_out = d_model

    def drop_gate(self) -> None:
        self.gate = None

    def start(self, memory: Memory) -> State:
        context = AttentionContext(self.attention.keys(memory.states), memory.values, memory.padding)
        nowhere = torch.zeros_like(single(memory.states[..., 0]))
        return State(context, PointerCarry(self.bridge(memory.summary), nowhere))

    def forward(self, y: Tensor, state: State, need_weights: bool = False) -> DecoderOutput:
        y = self.dropout(y)
        s, recurrent = self.recurrence(y, state.carry.recurrent)
        s = self.dropout(s)
        weights, coverage = self.attention(s, state.context.keys, state.context.padding, state.carry.coverage)
        found = torch.cat([s, weights @ state.context.values], -1)
        gate = None if self.gate is None else self.gate(torch.cat([found, y], -1)).squeeze(-1)
        attention = weights[:, None, None] if need_weights else None
        state = State(state.context, PointerCarry(recurrent, coverage))
        return DecoderOutput(self.dropout(self.output(found)), state, attention, gate)


class Pointer(Seq2SeqModule):
    """Pointer-generator network with coverage (See et al., 2017, arXiv:1704.04368).

    It copies source words that no vocabulary has, with ``data.copy`` and a tokenizer of words; the coverage loss is the
    objective ``CoverageLoss``. The first state of the decoder is tanh(W [h; c] + b) of the encoder's last ones.

    Initialisation: embeddings N(0, 1/E), recurrent matrices orthogonal, all others Xavier, biases 0 but for the forget
    gates, which start at 1.

    Card:
        year: 2017
        idea: each word is generated, or copied from where attention looks; a coverage vector says where it has looked.
        equation: `P(w) = p_gen P_vocab(w) + (1 - p_gen) sum_{i: w_i = w} a_i`, `e_t = v . tanh(W s_t + U h + w c_t)`
        training: O(T D^2 + T S A), T steps in a row in the attention alone
        decoding: O(D^2 + S A), constant memory beside the source
        use: names, numbers and rare words that must be taken from the source; summarisation.
        paper: See et al., 2017, arXiv:1704.04368
        embeddings: E*(U+V) + V*(D+1)
        encoder: 8*D*(E+D+2)
        decoder: 4*D*(E+D+2) + 2*D*(4*D+1) + A*(3*D+3) + D*(3*D+1) + 3*D+E+1

    Args:
        src_vocab_size: symbols of the source vocabulary; the command line fills it in.
        tgt_vocab_size: symbols of the target vocabulary; null: one vocabulary for both sides.
        d_embedding: width of the embeddings (the authors' program: 128).
        d_model: width of the decoder, and of each direction of the encoder (the authors' program: 256).
        d_score: width inside the attention's tanh.
        coverage: attention reads where it has looked. Without, no step waits for another; the authors trained so first,
            and then for a short while with coverage and its loss: a second run with ``--init_from``.
        dropout: probability, on embeddings, on the decoder's state and on what the readout reads.
        tie_embeddings: what shares one matrix: "all", "readout" or "none"; the first two need d_embedding = d_model.
    """

    def __init__(
        self,
        src_vocab_size: int,
        tgt_vocab_size: int | None = None,
        *,
        d_embedding: int = 128,
        d_model: int = 256,
        d_score: int = 256,
        coverage: bool = True,
        dropout: float = 0.2,
        tie_embeddings: Tie = "none",
    ) -> None:
        encoder = RecurrentEncoder(d_embedding, "lstm", 2 * d_model, direction="both", dropout=dropout)
        decoder = PointerDecoder(
            d_embedding, encoder.shape, d_model, d_score=d_score, coverage=coverage, dropout=dropout
        )
        super().__init__(
            assemble(
                encoder,
                decoder,
                src_vocab_size,
                tgt_vocab_size,
                d_embedding,
                tie_embeddings,
                readout=partial(PointerGenerator, joint=tgt_vocab_size is None),
            )
        )
