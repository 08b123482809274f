"""GRU encoder-decoder whose decoder looks for the source within each step (Bahdanau et al., 2015).

Shape letters: B batch, S source, T target, E embedding, D memory, H decoder, A inside of the score, M maxout.
"""

import torch
from torch import Tensor, nn

from s2s_lightning.errors import check_at_least
from s2s_lightning.families.rnn import RecurrentEncoder
from s2s_lightning.model import Decoder, DecoderOutput, Memory, MemoryShape, State, Tie, assemble
from s2s_lightning.nn.alignment import AdditiveScore, AttentionContext, align
from s2s_lightning.nn.bridge import Bridge
from s2s_lightning.nn.cells import reset_before_step
from s2s_lightning.nn.dropout import Dropout, RecurrentDropout
from s2s_lightning.nn.eager import eager
from s2s_lightning.training.module import Seq2SeqModule


class BahdanauDecoder(Decoder):
    """A GRU whose last state looks for a context that then enters its gates (A.1.2, A.2.2).

    c_i = sum_j softmax_j(v . tanh(W s_{i-1} + U h_j)) h_j
    s_i = z * s_{i-1} + (1 - z) * tanh(W y + C c + U (r * s_{i-1})), the paper's z being 1 - z here
    hidden = maxout(U_o s_i + V_o y_{i-1} + C_o c_i), pairs of which the greater is kept

    The maxout reads s_i, as in eq. 4; the formula in A.2.2 has s_{i-1}. Outside of the loop over time stand the keys,
    the embeddings' products and the maxout.

    Args:
        d_embedding: width E of the target embedding.
        memory: what the encoder hands over.
        d_model: width H of the GRU.
        d_score: width A inside the score.
        d_maxout: width M of the output.
        dropout: probability, on the embeddings and on the output.
        recurrent_dropout: probability, on s inside the GRU, one mask for all steps of a target.
    """

    def __init__(
        self,
        d_embedding: int,
        memory: MemoryShape,
        d_model: int = 256,
        *,
        d_score: int = 256,
        d_maxout: int = 256,
        dropout: float = 0.2,
        recurrent_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_at_least(1, d_score=d_score, d_maxout=d_maxout)
        self.bridge = Bridge(memory.summary, (1, d_model))
        self.score = AdditiveScore(d_model, memory.d_states, d_score)
        self.embedding = nn.Linear(d_embedding, 3 * d_model)  # of reset gate, update gate, candidate
        self.context = nn.Linear(memory.d_states, 3 * d_model, bias=False)
        self.recurrent = nn.Linear(d_model, 3 * d_model, bias=False)
        check_at_least(1, d_maxout=d_maxout)
        self.maxout = nn.Linear(d_model + d_embedding + memory.d_states, 2 * d_maxout)
        self.dropout = Dropout(dropout)
        self.recurrent_dropout = RecurrentDropout(recurrent_dropout)
        self.d_out = d_maxout
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Xavier, gate by gate; recurrent matrices orthogonal (B.1); biases 0."""
        for gate in (*self.embedding.weight.chunk(3), *self.context.weight.chunk(3)):
            nn.init.xavier_uniform_(gate.detach())
        for gate in self.recurrent.weight.chunk(3):
            nn.init.orthogonal_(gate.detach())
        nn.init.xavier_uniform_(self.maxout.weight)
        nn.init.zeros_(self.embedding.bias)
        nn.init.zeros_(self.maxout.bias)

    def start(self, memory: Memory) -> State:
        source = AttentionContext(self.score.keys(memory.states), memory.values, memory.padding)
        s = self.bridge(memory.summary).squeeze(1)
        return State((source, self.recurrent_dropout.draw(s, s.shape[1])), s)

    @eager
    def forward(self, y: Tensor, state: State, need_weights: bool = False) -> DecoderOutput:
        (source, mask), s = state
        y = self.dropout(y)
        w_context, u = self.context.weight.t(), self.recurrent.weight.t()
        steps, contexts, weights = [], [], []
        for products in self.embedding(y).unbind(1):  # T of (B, 3H)
            aligned = align(self.score(s.unsqueeze(1), source.keys), source.padding)
            c = (aligned @ source.values).squeeze(1)
            read = s if mask is None else s * mask
            (s,) = reset_before_step(torch.addmm(products, c, w_context), read, u, None, (s,))
            steps.append(s)
            contexts.append(c)
            weights.append(aligned)
        pairs = self.maxout(torch.cat([torch.stack(steps, 1), y, torch.stack(contexts, 1)], -1))
        hidden = self.dropout(torch.maximum(*pairs.chunk(2, -1)))
        attention = torch.cat(weights, 1)[:, None, None] if need_weights else None
        return DecoderOutput(hidden, State(state.context, s), attention)


class Bahdanau(Seq2SeqModule):
    """RNNsearch: bidirectional GRU encoder, additive attention inside the decoder's step (2015, arXiv:1409.0473).

    The encoder is torch's GRU, whose reset gate acts after the matrix product; the decoder computes the paper's, before
    it. The first state is made of the last states of both directions, in the paper of the backward one's alone.

    Initialisation: embeddings N(0, 1/E), recurrent matrices orthogonal, all others Xavier, biases 0.

    Card:
        year: 2015
        idea: before each step the decoder's state weighs all source states, and their mean enters the gates.
        equation: `c_i = sum_j softmax_j(v . tanh(W s_{i-1} + U h_j)) h_j`, `s_i = GRU(s_{i-1}, [y_{i-1}; c_i])`
        training: O(T D^2 + T S A), T steps in a row
        decoding: O(D^2 + S A), constant memory beside the source
        use: to see attention as it began; alignments that are easy to read.
        paper: Bahdanau et al., 2015, arXiv:1409.0473
        embeddings: E*(U+V) + V*(M+1)
        encoder: 6*D*(E+D+2)
        decoder: D*(2*D+1) + A*(3*D+1) + 3*D*(E+3*D+1) + 2*M*(E+3*D+1)

    Args:
        src_vocab_size: symbols of the source vocabulary; the command line fills it in.
        tgt_vocab_size: symbols of the target vocabulary; null: one vocabulary for both sides.
        d_embedding: width of the embeddings (paper: 620).
        d_model: width of the decoder, and of each direction of the encoder (paper: 1000).
        d_score: width inside the attention's tanh (paper: 1000).
        d_maxout: width of the readout's maxout layer (paper: 500).
        num_layers: layers of the encoder (paper: 1); the decoder has one.
        dropout: probability, on embeddings, between the encoder's layers and on the maxout layer (paper: 0).
        recurrent_dropout: probability, on the GRUs' states from step to step, the same entries at all steps (Gal &
            Ghahramani, 2016, arXiv:1512.05287).
        tie_embeddings: what shares one matrix: "all", "readout" or "none"; the first two need d_embedding = d_maxout.
    """

    def __init__(
        self,
        src_vocab_size: int,
        tgt_vocab_size: int | None = None,
        *,
        d_embedding: int = 256,
        d_model: int = 256,
        d_score: int = 256,
        d_maxout: int = 256,
        num_layers: int = 1,
        dropout: float = 0.2,
        recurrent_dropout: float = 0.0,
        tie_embeddings: Tie = "none",
    ) -> None:
        rates = {"dropout": dropout, "recurrent_dropout": recurrent_dropout}
        encoder = RecurrentEncoder(d_embedding, "gru", 2 * d_model, num_layers, direction="both", **rates)
        decoder = BahdanauDecoder(d_embedding, encoder.shape, d_model, d_score=d_score, d_maxout=d_maxout, **rates)
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
