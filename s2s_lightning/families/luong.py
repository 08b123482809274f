"""LSTM encoder-decoder with attention on top of the decoder, with or without input feeding (Luong et al., 2015).

Shape letters: B batch, S source, T target, E embedding, D memory, H decoder, A inside of a score.
"""

from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from s2s_lightning.errors import UserError, check_at_least
from s2s_lightning.families.rnn import Direction, RecurrentEncoder
from s2s_lightning.model import Decoder, DecoderOutput, Memory, MemoryShape, State, Tie, assemble
from s2s_lightning.nn.alignment import (
    AdditiveScore,
    AttentionContext,
    DotScore,
    GeneralScore,
    GlobalWindow,
    LocationScore,
    MonotonicWindow,
    PredictiveWindow,
    Score,
    Window,
)
from s2s_lightning.nn.bridge import bridge
from s2s_lightning.nn.dropout import Dropout
from s2s_lightning.nn.eager import eager
from s2s_lightning.nn.recurrence import Recurrence
from s2s_lightning.nn.stepwise_lstm import StepwiseLSTM, join_vectors, split_vectors
from s2s_lightning.training.module import Seq2SeqModule

ScoreName = Literal["dot", "general", "concat", "location"]
WindowName = Literal["global", "monotonic", "predictive"]


class Carry(NamedTuple):
    """The LSTM's state (B, N, H), the last attentional vector (B, H) if it is fed, the steps made so far (B,)."""

    recurrent: Tensor
    attentional: Tensor | None
    step: Tensor


class AttentionalDecoder(Decoder):
    """LSTM layers, then attention: the attentional vector is tanh(W_c [c; h]) (Luong et al., 2015, eq. 5).

    W_c [c; h] is computed as sum_s a_s (W_1 v_s) + W_2 h, so that the source is multiplied once and not at every step.
    ``feeds_input`` says that the LSTM reads the last attentional vector beside the embedding.

    Args:
        d_embedding: width E of the target embedding.
        memory: what the encoder hands over.
        d_model: width H of the layers and of the attentional vector.
        num_layers: LSTM layers.
        score: "dot", "general", "concat" or "location".
        window: "global", "monotonic" (local-m) or "predictive" (local-p).
        window_radius: D of the latter two.
        max_positions: source positions that score=location can see.
        dropout: probability, on the embeddings, on each layer's output and on the attentional vector for the readout.
        recurrent_dropout: probability, on h from step to step, one mask for all steps of a target.

    Raises:
        UserError: score=location, which numbers the whole source, in a window.
    """

    feeds_input: ClassVar[bool] = False

    def __init__(
        self,
        d_embedding: int,
        memory: MemoryShape,
        d_model: int = 256,
        num_layers: int = 1,
        *,
        score: ScoreName = "general",
        window: WindowName = "global",
        window_radius: int = 10,
        max_positions: int = 256,
        dropout: float = 0.2,
        recurrent_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_at_least(1, window_radius=window_radius, max_positions=max_positions)
        if score == "location" and window != "global":
            raise UserError(
                f"score=location with window={window}: it numbers the positions of the whole source; "
                "set window to global or score to general"
            )
        d_input = d_embedding + d_model if self.feeds_input else d_embedding
        self.recurrence = Recurrence(
            "lstm", d_input, d_model, num_layers, dropout=dropout, recurrent_dropout=recurrent_dropout
        )
        self.bridge = bridge(memory.summary, self.recurrence.state_shape)
        self.score = make_score(score, d_model, memory.d_states, max_positions)
        self.window = make_window(window, d_model, window_radius)
        self.attention_sums_to_one = window == "global"
        self.value = nn.Linear(memory.d_states, d_model, bias=False)
        self.query = nn.Linear(d_model, d_model, bias=False)
        nn.init.xavier_uniform_(self.value.weight)
        nn.init.xavier_uniform_(self.query.weight)
        self.dropout = Dropout(dropout)
        self.d_out = d_model

    def start(self, memory: Memory) -> State:
        source = AttentionContext(self.score.keys(memory.states), self.value(memory.values), memory.padding)
        recurrent = self.bridge(memory.summary)
        step = torch.zeros(len(recurrent), dtype=torch.long, device=recurrent.device)
        carry = Carry(recurrent, torch.zeros_like(recurrent[:, 0]) if self.feeds_input else None, step)
        return State((source, self.recurrence.draw_masks(recurrent)), carry)

    def forward(self, y: Tensor, state: State, need_weights: bool = False) -> DecoderOutput:
        (source, masks), carry = state
        h, recurrent = self.recurrence(self.dropout(y), carry.recurrent, masks)
        hidden, weights = self.attend(self.dropout(h), source, steps_after(carry.step, y))
        attention = weights[:, None, None] if need_weights else None
        carry = Carry(recurrent, None, carry.step + y.shape[1])
        return DecoderOutput(self.dropout(hidden), State(state.context, carry), attention)

    def attend(self, h: Tensor, source: AttentionContext, step: Tensor) -> tuple[Tensor, Tensor]:
        """Top states h (B, T, H) at steps (B, T) -> attentional vectors (B, T, H) and weights (B, T, S)."""
        weights = self.window(self.score(h, source.keys), h, step, source.padding)
        return (weights @ source.values + self.query(h)).tanh(), weights


def make_score(name: ScoreName, d_query: int, d_memory: int, max_positions: int) -> Score:
    if name == "location":
        return LocationScore(d_query, max_positions)
    return {"dot": DotScore, "general": GeneralScore, "concat": AdditiveScore}[name](d_query, d_memory)


def make_window(name: WindowName, d_query: int, radius: int) -> Window:
    if name == "predictive":
        return PredictiveWindow(d_query, radius)
    return GlobalWindow() if name == "global" else MonotonicWindow(radius)


def steps_after(step: Tensor, y: Tensor) -> Tensor:
    """The numbers (B, T) of the steps of y (B, T, E) after ``step`` (B,) of them."""
    return step.unsqueeze(1) + torch.arange(y.shape[1], device=y.device)


class InputFeedingDecoder(AttentionalDecoder):
    """Feeds each attentional vector to the first layer of the next step (Luong et al., 2015, 3.3): steps must wait."""

    feeds_input = True

    @eager
    def forward(self, y: Tensor, state: State, need_weights: bool = False) -> DecoderOutput:
        (source, masks), carry = state
        lstm = StepwiseLSTM(self.recurrence.rnn, self.dropout(y), self.dropout, masks)
        vectors, fed = split_vectors(carry.recurrent), carry.attentional
        hidden, weights = [], []
        steps = steps_after(carry.step, y)
        for t in range(y.shape[1]):
            h, vectors = lstm.step(t, fed, vectors)
            attended, aligned = self.attend(h.unsqueeze(1), source, steps[:, t : t + 1])
            fed = attended.squeeze(1)
            hidden.append(fed)
            weights.append(aligned)
        attention = torch.cat(weights, 1)[:, None, None] if need_weights else None
        carry = Carry(join_vectors(vectors), fed, carry.step + y.shape[1])
        return DecoderOutput(self.dropout(torch.stack(hidden, 1)), State(state.context, carry), attention)


class Luong(Seq2SeqModule):
    """LSTM encoder-decoder with global or local attention (Luong et al., 2015, arXiv:1508.04025).

    The encoder's last h and c start the decoder, whose top state looks for the source after the recurrence. Without
    input feeding the whole target runs in one parallel call.

    Initialisation: embeddings N(0, 1/E), input, attention and output matrices Xavier, recurrent ones orthogonal, biases
    0 but for the forget gates, which start at 1.

    Card:
        year: 2015
        idea: an LSTM's state looks for the source after each step, and may feed what it found to the next.
        equation: `h~_t = tanh(W [sum_s a_ts v_s; h_t])`, `a_t = softmax(h_t W_a k_s)`
        training: O(T D^2 + T S D), T steps in a row
        decoding: O(D^2 + S D), constant memory beside the source
        use: small data and short sequences; the recurrent baseline with attention.
        paper: Luong et al., 2015, arXiv:1508.04025
        embeddings: E*(U+V) + V*(D+1)
        encoder: 4*D*(E+D/2+2)
        decoder: 4*D*(E+2*D+2) + 3*D*D

    Args:
        src_vocab_size: symbols of the source vocabulary; the command line fills it in.
        tgt_vocab_size: symbols of the target vocabulary; null: one vocabulary for both sides.
        d_embedding: width of the embeddings.
        d_model: width of the hidden states; a bidirectional encoder has half of it in each direction.
        num_layers: layers of the encoder, and of the decoder.
        score: how well a state fits a source position: "dot" q . k, "general" q . W k, "concat" v . tanh(W [q; k]),
            "location" (W q)_s, which sees the state alone.
        window: what of the source a step sees: "global" all of it, "monotonic" (local-m) the positions around its own
            number, "predictive" (local-p) those around a position that it predicts, by a Gaussian.
        window_radius: D of a local window, positions on each side of its centre (paper: 10).
        max_positions: source positions that "location" has weights for; those behind are not seen.
        input_feeding: give each step the attentional vector of the step before.
        direction: how the source is read: "forward", "backward" (reversed, as in the paper) or "both".
        dropout: probability, on embeddings, on each layer's output and on the attentional vector for the readout, but
            not on what goes from step to step (Zaremba et al., 2014, arXiv:1409.2329).
        recurrent_dropout: probability, on h from step to step, the same entries at all steps of a sequence (Gal &
            Ghahramani, 2016, arXiv:1512.05287); training then takes an own loop instead of torch's layers.
        tie_embeddings: what shares one matrix: "all", "readout" or "none"; the first two need d_embedding = d_model.
    """

    def __init__(
        self,
        src_vocab_size: int,
        tgt_vocab_size: int | None = None,
        *,
        d_embedding: int = 256,
        d_model: int = 256,
        num_layers: int = 2,
        score: ScoreName = "general",
        window: WindowName = "global",
        window_radius: int = 10,
        max_positions: int = 256,
        input_feeding: bool = True,
        direction: Direction = "both",
        dropout: float = 0.2,
        recurrent_dropout: float = 0.0,
        tie_embeddings: Tie = "none",
    ) -> None:
        rates = {"dropout": dropout, "recurrent_dropout": recurrent_dropout}
        encoder = RecurrentEncoder(d_embedding, "lstm", d_model, num_layers, direction=direction, **rates)
        decoder = (InputFeedingDecoder if input_feeding else AttentionalDecoder)(
            d_embedding,
            encoder.shape,
            d_model,
            num_layers,
            score=score,
            window=window,
            window_radius=window_radius,
            max_positions=max_positions,
            **rates,
        )
        super().__init__(assemble(encoder, decoder, src_vocab_size, tgt_vocab_size, d_embedding, tie_embeddings))
