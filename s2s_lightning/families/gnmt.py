"""Deep LSTM stacks with residual connections, and attention that only the bottom of the decoder asks for (Wu, 2016).

Shape letters: B batch, S source, T target, E embedding, D memory, H decoder, N layers, A inside of the score.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from s2s_lightning.errors import UserError, check_at_least
from s2s_lightning.model import Decoder, DecoderOutput, Encoder, Memory, MemoryShape, State, Tie, assemble
from s2s_lightning.nn.alignment import AdditiveScore, AttentionContext, align
from s2s_lightning.nn.bridge import bridge
from s2s_lightning.nn.dropout import Dropout
from s2s_lightning.nn.eager import eager
from s2s_lightning.nn.recurrence import Recurrence
from s2s_lightning.nn.stepwise_lstm import StepwiseLSTM
from s2s_lightning.training.module import Seq2SeqModule


class GNMTEncoder(Encoder):
    """A bidirectional LSTM layer below unidirectional ones (Wu et al., 2016, 3.1-3.2, arXiv:1609.08144).

    From the third layer on x^i = LSTM_i(x^{i-1}) + x^{i-1}. Each direction of the first layer has half of the width.

    Args:
        d_embedding: width E of the source embedding.
        d_model: width D of the states, both directions together.
        num_layers: N.
        dropout: probability, on the input of each layer.
        recurrent_dropout: probability, on h from step to step, one mask for all steps of a source.

    Raises:
        UserError: two directions have to share an odd d_model.
    """

    def __init__(
        self,
        d_embedding: int,
        d_model: int = 256,
        num_layers: int = 3,
        *,
        dropout: float = 0.2,
        recurrent_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_at_least(1, d_embedding=d_embedding, d_model=d_model, num_layers=num_layers)
        if d_model % 2:
            raise UserError(f"d_model={d_model} cannot be halved between two directions: make it even")
        widths = [d_embedding, *[d_model] * (num_layers - 1)]
        self.layers: Sequence[Recurrence] = nn.ModuleList(  # type: ignore[assignment]
            Recurrence("lstm", width, d_model, 1, recurrent_dropout=recurrent_dropout, bidirectional=i == 0)
            for i, width in enumerate(widths)
        )
        self.dropout = Dropout(dropout)
        self.shape = MemoryShape(d_model, (2 * num_layers, d_model))

    def forward(self, x: Tensor, padding: Tensor) -> Memory:
        last = []
        for i, layer in enumerate(self.layers):
            states, vectors = layer.read(self.dropout(x), padding)
            x = x + states if i >= 2 else states
            last.append(vectors)
        return Memory(x, x, padding, join_layers(last))


def join_layers(states: list[Tensor]) -> Tensor:
    """States (B, 2, H) of single layers as that of their stack (B, 2N, H): the h of each, then the c of each."""
    return torch.stack(states, 2).flatten(1, 2)


class GNMTDecoder(Decoder):
    """A stack whose bottom layer's last output looks for the context of all layers (Wu et al., 2016, 3).

    a_t = sum_s softmax_s(v . tanh(W y^1_{t-1} + U h_s)) h_s
    y^1_t = LSTM_1([y_t; a_t]), y^i_t = LSTM_i([y^{i-1}_t; a_t]), from the third layer on + y^{i-1}_t

    So nothing but the bottom layer waits for attention: the layers above it read the whole target in one call each.
    The paper sends a_t to "all the remaining" layers; that the bottom one reads it, too, is as in Bahdanau et al.
    (2015), whose attention the paper follows. Nor does it say how the decoder starts: here from the encoder's last h
    and c of each layer.

    Args:
        d_embedding: width E of the target embedding.
        memory: what the encoder hands over.
        d_model: width H of the layers.
        num_layers: N.
        d_score: width A inside the score.
        dropout: probability, on the input of each layer and on the output.
        recurrent_dropout: probability, on h from step to step, one mask for all steps of a target.
    """

    def __init__(
        self,
        d_embedding: int,
        memory: MemoryShape,
        d_model: int = 256,
        num_layers: int = 3,
        *,
        d_score: int = 256,
        dropout: float = 0.2,
        recurrent_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_at_least(1, d_embedding=d_embedding, d_model=d_model, d_score=d_score, num_layers=num_layers)
        widths = [d_embedding, *[d_model] * (num_layers - 1)]
        self.layers: Sequence[Recurrence] = nn.ModuleList(  # type: ignore[assignment]
            Recurrence("lstm", width + memory.d_states, d_model, 1, recurrent_dropout=recurrent_dropout)
            for width in widths
        )
        self.bridge = bridge(memory.summary, (2 * num_layers, d_model))
        self.score = AdditiveScore(d_model, memory.d_states, d_score)
        self.dropout = Dropout(dropout)
        self.d_out = d_model

    def start(self, memory: Memory) -> State:
        source = AttentionContext(self.score.keys(memory.states), memory.values, memory.padding)
        carry = self.bridge(memory.summary)
        return State((source, [layer.draw_masks(carry) for layer in self.layers]), carry)

    def forward(self, y: Tensor, state: State, need_weights: bool = False) -> DecoderOutput:
        (source, masks), carry = state
        vectors = carry.unflatten(1, (2, -1)).unbind(2)  # N of (B, 2, H)
        x, contexts, weights, last = self.attend(self.dropout(y), vectors[0], source, masks[0])
        states, contexts = [last], self.dropout(contexts)
        for i, layer in enumerate(self.layers[1:], 1):
            stepped, last = layer(torch.cat([self.dropout(x), contexts], -1), vectors[i], masks[i])
            x = x + stepped if i >= 2 else stepped
            states.append(last)
        attention = weights[:, None, None] if need_weights else None
        return DecoderOutput(self.dropout(x), State(state.context, join_layers(states)), attention)

    @eager
    def attend(
        self, y: Tensor, vectors: Tensor, source: AttentionContext, mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The bottom layer on y (B, T, E) from its h and c (B, 2, H).

        Returns:
            outputs (B, T, H), contexts (B, T, D), weights (B, T, S) and the layer's h and c after them (B, 2, H).
        """
        lstm = StepwiseLSTM(self.layers[0].rnn, y, nn.Identity(), mask)
        h, c = vectors.unbind(1)
        outputs, contexts, weights = [], [], []
        for t in range(y.shape[1]):
            weights.append(align(self.score(h.unsqueeze(1), source.keys), source.padding))
            contexts.append((weights[-1] @ source.values).squeeze(1))
            h, ((_, c),) = lstm.step(t, contexts[-1], [(h, c)])
            outputs.append(h)
        return torch.stack(outputs, 1), torch.stack(contexts, 1), torch.cat(weights, 1), torch.stack([h, c], 1)


class GNMT(Seq2SeqModule):
    """Google's neural machine translation system (Wu et al., 2016, arXiv:1609.08144), its network alone.

    Initialisation: embeddings N(0, 1/E), input and attention matrices Xavier, recurrent ones orthogonal, biases 0 but
    for the forget gates, which start at 1.

    Card:
        year: 2016
        idea: deep LSTM stacks that residual connections make trainable; attention hangs on the decoder's bottom layer.
        equation: `a_t = sum_s softmax_s(v . tanh(W y1_{t-1} + U h_s)) h_s`, `x_i = LSTM_i([x_{i-1}; a_t]) + x_{i-1}`
        training: O(N T D^2 + T S A), T steps in a row
        decoding: O(N D^2 + S A), constant memory beside the source
        use: when a recurrent model should be deep.
        paper: Wu et al., 2016, arXiv:1609.08144
        embeddings: E*(U+V) + V*(D+1)
        encoder: 4*D*(E+D/2+2) + (R-1)*8*D*(D+1)
        decoder: 4*D*(E+2*D+2) + (R-1)*4*D*(3*D+2) + A*(2*D+1)

    Args:
        src_vocab_size: symbols of the source vocabulary; the command line fills it in.
        tgt_vocab_size: symbols of the target vocabulary; null: one vocabulary for both sides.
        d_embedding: width of the embeddings.
        d_model: width of the hidden states (paper: 1024); each direction of the first layer has half of it.
        d_score: width inside the attention's tanh.
        num_layers: layers of the encoder, and of the decoder (paper: 8).
        dropout: probability, on what each layer reads of the layer below and of the source, and on the output.
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
        d_score: int = 256,
        num_layers: int = 3,
        dropout: float = 0.2,
        recurrent_dropout: float = 0.0,
        tie_embeddings: Tie = "none",
    ) -> None:
        rates = {"dropout": dropout, "recurrent_dropout": recurrent_dropout}
        encoder = GNMTEncoder(d_embedding, d_model, num_layers, **rates)
        decoder = GNMTDecoder(d_embedding, encoder.shape, d_model, num_layers, d_score=d_score, **rates)
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
