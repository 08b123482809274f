"""LSTM encoder-decoder with global attention on top of the decoder, with or without input feeding (Luong, 2015).

Shape letters: B batch, S source, T target, E embedding, D memory, H decoder, A inside of a score.
"""

from collections.abc import Callable
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from s2s_lightning.architecture import Decoder, DecoderOutput, Memory, MemoryShape, State, Tie, assemble
from s2s_lightning.families.rnn import Direction, RecurrentEncoder
from s2s_lightning.module import Seq2SeqModule
from s2s_lightning.nn.alignment import AdditiveScore, AttentionContext, DotScore, GeneralScore, Score, align
from s2s_lightning.nn.bridge import bridge
from s2s_lightning.nn.dropout import Dropout
from s2s_lightning.nn.recurrence import Recurrence
from s2s_lightning.nn.stepwise_lstm import StepwiseLSTM, join_vectors, split_vectors

ScoreName = Literal["dot", "general", "concat"]
SCORES: dict[ScoreName, Callable[[int, int], Score]] = {
    "dot": DotScore,
    "general": GeneralScore,
    "concat": AdditiveScore,
}


class GlobalAttentionDecoder(Decoder):
    """LSTM layers, then attention: the attentional vector is tanh(W_c [c; h]) (Luong et al., 2015, eq. 5).

    W_c [c; h] is computed as sum_s a_s (W_1 v_s) + W_2 h, so that the source is multiplied once and not at every step.
    ``feeds_input`` says that the LSTM reads the last attentional vector beside the embedding.

    Args:
        d_embedding: width E of the target embedding.
        memory: what the encoder hands over.
        d_model: width H of the layers and of the attentional vector.
        num_layers: LSTM layers.
        score: "dot", "general" or "concat".
        dropout: probability, on the embeddings, on each layer's output and on the attentional vector for the readout.
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
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        d_input = d_embedding + d_model if self.feeds_input else d_embedding
        self.recurrence = Recurrence("lstm", d_input, d_model, num_layers, dropout=dropout)
        self.bridge = bridge(memory.summary, self.recurrence.state_shape)
        self.score = SCORES[score](d_model, memory.d_states)
        self.value = nn.Linear(memory.d_states, d_model, bias=False)
        self.query = nn.Linear(d_model, d_model, bias=False)
        nn.init.xavier_uniform_(self.value.weight)
        nn.init.xavier_uniform_(self.query.weight)
        self.dropout = Dropout(dropout)
        self.d_out = d_model

    def start(self, memory: Memory) -> State:
        context = AttentionContext(self.score.keys(memory.states), self.value(memory.values), memory.padding)
        return State(context, self.bridge(memory.summary))

    def forward(self, y: Tensor, state: State, need_weights: bool = False) -> DecoderOutput:
        h, carry = self.recurrence(self.dropout(y), state.carry)
        hidden, weights = self.attend(self.dropout(h), state.context)
        attention = weights[:, None, None] if need_weights else None
        return DecoderOutput(self.dropout(hidden), State(state.context, carry), attention)

    def attend(self, h: Tensor, context: AttentionContext) -> tuple[Tensor, Tensor]:
        """Top states h (B, T, H) -> attentional vectors (B, T, H) and weights (B, T, S).

        The context's values (B, S, H) are projected by W_c.
        """
        weights = align(self.score(h, context.keys), context.padding)
        return (weights @ context.values + self.query(h)).tanh(), weights


class FeedingCarry(NamedTuple):
    """The LSTM's state (B, N, H) and the last attentional vector (B, H)."""

    recurrent: Tensor
    attentional: Tensor


class InputFeedingDecoder(GlobalAttentionDecoder):
    """Feeds each attentional vector to the first layer of the next step (Luong et al., 2015, 3.3): steps must wait."""

    feeds_input = True

    def start(self, memory: Memory) -> State:
        context, recurrent = super().start(memory)
        return State(context, FeedingCarry(recurrent, torch.zeros_like(recurrent[:, 0])))

    def forward(self, y: Tensor, state: State, need_weights: bool = False) -> DecoderOutput:
        lstm = StepwiseLSTM(self.recurrence.rnn, self.dropout(y), self.dropout)
        vectors, fed = split_vectors(state.carry.recurrent), state.carry.attentional
        hidden, weights = [], []
        for t in range(y.shape[1]):
            h, vectors = lstm.step(t, fed, vectors)
            attended, aligned = self.attend(h.unsqueeze(1), state.context)
            fed = attended.squeeze(1)
            hidden.append(fed)
            weights.append(aligned)
        carry = FeedingCarry(join_vectors(vectors), fed)
        attention = torch.cat(weights, 1)[:, None, None] if need_weights else None
        return DecoderOutput(self.dropout(torch.stack(hidden, 1)), State(state.context, carry), attention)


class Luong(Seq2SeqModule):
    """LSTM encoder-decoder with global attention (Luong et al., 2015, arXiv:1508.04025).

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
        use: small data and short sequences, where it still learns fastest on a CPU.
        paper: Luong et al., 2015, arXiv:1508.04025
        embeddings: E*(U+V) + V*(D+1)
        encoder: 4*D*(E+D/2+2)
        decoder: 4*D*(E+2*D+2) + 3*D*D

    Args:
        src_vocab_size: source tokens, or tokens of both sides when joint.
        tgt_vocab_size: target tokens; None with a joint vocabulary.
        d_embedding: width of the embeddings.
        d_model: width of the hidden states; a bidirectional encoder has half of it in each direction.
        num_layers: layers of the encoder, and of the decoder.
        score: how well a state fits a source position: "dot" q . k, "general" q . W k, "concat" v . tanh(W [q; k]).
        input_feeding: give each step the attentional vector of the step before.
        direction: how the source is read: "forward", "backward" (reversed, as in the paper) or "both".
        dropout: probability, on embeddings, on each layer's output and on the attentional vector for the readout, but
            not on what goes from step to step (Zaremba et al., 2014, arXiv:1409.2329).
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
        input_feeding: bool = True,
        direction: Direction = "both",
        dropout: float = 0.2,
        tie_embeddings: Tie = "none",
    ) -> None:
        encoder = RecurrentEncoder(d_embedding, "lstm", d_model, num_layers, direction=direction, dropout=dropout)
        decoder = (InputFeedingDecoder if input_feeding else GlobalAttentionDecoder)(
            d_embedding, encoder.shape, d_model, num_layers, score=score, dropout=dropout
        )
        super().__init__(
            assemble(
                encoder,
                decoder,
                src_vocab_size=src_vocab_size,
                tgt_vocab_size=tgt_vocab_size,
                d_embedding=d_embedding,
                tie_embeddings=tie_embeddings,
            )
        )
