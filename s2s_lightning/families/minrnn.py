"""minGRU and minLSTM: gated recurrences whose gates see the input alone (Feng et al., 2024, arXiv:2410.01201)."""

from abc import abstractmethod
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from s2s_lightning.errors import check_at_least
from s2s_lightning.families.elementwise import BlockDecoder, BlockEncoder, Blocks
from s2s_lightning.model import Tie, assemble
from s2s_lightning.nn.elementwise_recurrence import ElementwiseRecurrence
from s2s_lightning.nn.scan import single
from s2s_lightning.training.module import Seq2SeqModule


def positive(x: Tensor) -> Tensor:
    """g(x) = x + 0.5 for x >= 0, otherwise sigmoid(x): increasing, and above 0 (Feng et al., 2024, B.3)."""
    return torch.where(x >= 0, x + 0.5, x.sigmoid())


class MinRecurrence(ElementwiseRecurrence):
    """Recurrence of minGRU and minLSTM: ``gates`` products of the input for gates, one for the candidate.

    Args:
        d_model: D.
        both_ways: the first half of the channels reads forwards and the second backwards.
        positive_states: candidates g(W x) instead of W x.
    """

    gates: ClassVar[int]

    def __init__(self, d_model: int, both_ways: bool = False, *, positive_states: bool = False) -> None:
        super().__init__(d_model, both_ways=both_ways)
        self.linear = nn.Linear(d_model, (self.gates + 1) * d_model)
        self.positive_states = positive_states

    def reset_parameters(self) -> None:
        """Gates and candidates are matrices of their own."""
        for part in self.linear.weight.detach().chunk(self.gates + 1):
            nn.init.xavier_uniform_(part)

    def forward(self, x: Tensor, state: Tensor, padding: Tensor | None = None) -> tuple[Tensor, Tensor]:
        *gates, candidate = single(self.linear(x)).chunk(self.gates + 1, -1)
        forget, write = self.weigh(*gates)
        candidate = positive(candidate) if self.positive_states else candidate
        return self.scan(forget, write * candidate, state, padding)

    @abstractmethod
    def weigh(self, *gates: Tensor) -> tuple[Tensor, Tensor]:
        """Return the shares of the old state and of the candidate, which sum to 1."""


class MinGRULayer(MinRecurrence):
    """h_t = (1 - z_t) * h_{t-1} + z_t * W x_t, z_t = sigmoid(W_z x_t + b)."""

    gates = 1

    def weigh(self, *gates: Tensor) -> tuple[Tensor, Tensor]:
        (z,) = gates
        return (-z).sigmoid(), z.sigmoid()


class MinLSTMLayer(MinRecurrence):
    """h_t = f' * h_{t-1} + i' * W x_t, where f' = f / (f + i), i' = i / (f + i) of a sigmoid forget and input gate.

    f / (f + i) is computed as sigmoid(log f - log i), which no saturated gate can make 0 / 0.
    """

    gates = 2

    def weigh(self, *gates: Tensor) -> tuple[Tensor, Tensor]:
        forget, enter = gates
        difference = F.logsigmoid(forget) - F.logsigmoid(enter)
        return difference.sigmoid(), (-difference).sigmoid()


class _MinRNN(Seq2SeqModule):
    """Encoder-decoder of minGRU and minLSTM: blocks of the Transformer, a recurrence for self-attention.

    Initialisation: embeddings N(0, 1), matrices Xavier, biases 0.

    Args:
        src_vocab_size: symbols of the source vocabulary; the command line fills it in.
        tgt_vocab_size: symbols of the target vocabulary; null: one vocabulary for both sides.
        d_model: width of embeddings and states, even and a multiple of num_heads.
        num_heads: heads of the decoder's attention over the source.
        d_ff: inner width of the feed-forward layers.
        num_encoder_layers: layers of the encoder, each with half of its states in either direction.
        num_decoder_layers: layers of the decoder.
        positive_states: candidates g(W x) > 0, as the paper's log-space scan needs them, instead of W x. Our scan needs
            neither, and begins at 0 in both cases, where the log-space scan needs a state above 0.
        dropout: on embeddings and on what each recurrence, attention or feed-forward layer adds.
        tie_embeddings: what shares one matrix: "all" embeddings and the readout (the source's with a joint vocabulary
            alone), the "readout" and the target's, or "none".

    Raises:
        UserError: d_model is odd or no multiple of num_heads.
    """

    layer: ClassVar[type[MinRecurrence]]

    def __init__(
        self,
        src_vocab_size: int,
        tgt_vocab_size: int | None = None,
        *,
        d_model: int = 256,
        num_heads: int = 4,
        d_ff: int = 512,
        num_encoder_layers: int = 3,
        num_decoder_layers: int = 2,
        positive_states: bool = False,
        dropout: float = 0.1,
        tie_embeddings: Tie = "none",
    ) -> None:
        check_at_least(1, num_encoder_layers=num_encoder_layers, num_decoder_layers=num_decoder_layers)
        new_layer = partial(self.layer, positive_states=positive_states)
        blocks = Blocks(num_heads=num_heads, d_ff=d_ff, dropout=dropout)
        encoder = BlockEncoder(d_model, num_encoder_layers, new_layer, blocks=blocks)
        decoder = BlockDecoder(d_model, encoder.shape, num_decoder_layers, new_layer, blocks=blocks)
        super().__init__(
            assemble(encoder, decoder, src_vocab_size, tgt_vocab_size, d_model, tie_embeddings, embedding_std=1.0)
        )


class MinGRU(_MinRNN):
    """minGRU as an encoder-decoder (Feng et al., 2024, arXiv:2410.01201).

    Computed is the paper's recurrence by a scan that needs no logarithms; ``positive_states`` is that
    of its log-space version. The paper has no encoder-decoder: attention over the source and the blocks are ours.

    Card:
        year: 2024
        idea: a GRU whose gate sees the input alone, so that all steps are one scan.
        equation: `h_t = (1 - z_t) * h_{t-1} + z_t * W x_t`, `z_t = sigmoid(W_z x_t)`
        training: O(T D^2 + T S D), nothing but an element-wise scan waits for time
        decoding: O(D^2 + S D), constant memory beside the source
        use: long targets, or a light baseline for state-space models.
        paper: Feng et al., 2024, arXiv:2410.01201
        embeddings: D*(U+V) + V*(D+1)
        encoder: N*(2*D*(D+1) + 2*D*F+D+F + 4*D) + 2*D
        decoder: L*(6*D*(D+1) + 2*D*F+D+F + 6*D) + 2*D
    """

    layer = MinGRULayer


class MinLSTM(_MinRNN):
    """minLSTM as an encoder-decoder (Feng et al., 2024, arXiv:2410.01201).

    Its normalised gates f' = f / (f + i) and i' = i / (f + i). The paper has no encoder-decoder: attention over the
    source and the blocks are ours.

    Card:
        year: 2024
        idea: an LSTM whose gates see the input alone and sum to 1, so that all steps are one scan.
        equation: `h_t = (f_t * h_{t-1} + i_t * W x_t) / (f_t + i_t)`
        training: O(T D^2 + T S D), nothing but an element-wise scan waits for time
        decoding: O(D^2 + S D), constant memory beside the source
        use: as minGRU, with a forget gate of its own.
        paper: Feng et al., 2024, arXiv:2410.01201
        embeddings: D*(U+V) + V*(D+1)
        encoder: N*(3*D*(D+1) + 2*D*F+D+F + 4*D) + 2*D
        decoder: L*(7*D*(D+1) + 2*D*F+D+F + 6*D) + 2*D
    """

    layer = MinLSTMLayer
