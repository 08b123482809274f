"""The xLSTM (Beck et al., 2024, arXiv:2405.04517) as an encoder-decoder with attention between the two.

Shape letters: B batch, T positions, D model, H heads, N width of a key, P = D / H width of a value.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from s2s_lightning.errors import UserError, check_at_least
from s2s_lightning.families.mixer import NORM_EPS, MixerDecoder, MixerEncoder
from s2s_lightning.model import MemoryShape, Tie, assemble
from s2s_lightning.nn.mlstm import Memory, mlstm
from s2s_lightning.nn.recurrent_mixer import Mixer
from s2s_lightning.training.module import Seq2SeqModule

GATE_CAP = 15.0
"""Input and forget gates are kept within +-15 by cap * tanh(x / cap) before their functions (Beck et al., 2025)."""


class MLSTMMixer(Mixer):
    """The mLSTM layer of the xLSTM 7B (Beck et al., 2025, arXiv:2503.13427).

    Queries, keys, values and an output gate from one product, exponential input and sigmoid forget gates of each head
    from another; layer normalisation of each head; o * h; an output product. The block of the first paper (Beck et al.,
    2024, 2.4) widens its input before, convolves it and skips; the later one does without.

    Initialisation: gates do not see the input at first; forget gates' biases are spread over [3, 6], as in the
    7B; input gates' are 0, where it has -10, with which little would enter in a short sentence.

    Args:
        d_model: D, a multiple of num_heads.
        num_heads: H.
        d_key: N.

    Raises:
        UserError: a width that the heads cannot share.
    """

    def __init__(self, d_model: int, num_heads: int, d_key: int) -> None:
        super().__init__()
        check_at_least(1, num_heads=num_heads, d_key=d_key)
        if d_model % num_heads:
            raise UserError(f"d_model={d_model} is no multiple of num_heads={num_heads}: change one of them")
        self.d_model = d_model
        self.num_heads, self.d_key = num_heads, d_key
        self.parts = (num_heads * d_key, num_heads * d_key, d_model, d_model)
        self.query_key_value_gate = nn.Linear(d_model, sum(self.parts), bias=False)
        self.gates = nn.Linear(d_model, 2 * num_heads)
        self.norm = nn.Parameter(torch.ones(d_model))
        self.output = nn.Linear(d_model, d_model, bias=False)
        nn.init.zeros_(self.gates.weight)
        with torch.no_grad():
            self.gates.bias.copy_(torch.cat([torch.zeros(num_heads), torch.linspace(3, 6, num_heads)]))

    def start(self, rows: int, like: Tensor) -> Memory:
        like = like.new_empty(0, dtype=torch.promote_types(like.dtype, torch.float32))
        return Memory.empty(rows, self.num_heads, self.d_key, self.d_model // self.num_heads, like)

    def forward(self, x: Tensor, carry: Memory, padding: Tensor | None = None) -> tuple[Tensor, Memory]:
        dtype = carry.matrix.dtype
        q, k, v, gate = self.query_key_value_gate(x).split_with_sizes(self.parts, -1)
        q, k, v = (torch.unflatten(part.to(dtype), -1, (self.num_heads, -1)) for part in (q, k, v))
        log_input, log_forget = self._log_gates(x, dtype, padding)
        h, carry = mlstm(q * self.d_key**-0.5, k, v, log_input, log_forget, carry)
        h = F.layer_norm(h, h.shape[-1:], eps=NORM_EPS).flatten(2) * self.norm
        return self.output(h.to(gate.dtype) * gate.sigmoid()), carry

    def _log_gates(self, x: Tensor, dtype: torch.dtype, padding: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return log input and log forget gates (B, T, H) of x (B, T, D); padding counts as an empty input."""
        capped = GATE_CAP * (self.gates(x).to(dtype) / GATE_CAP).tanh()
        log_input, log_forget = capped.chunk(2, -1)
        log_forget = F.logsigmoid(log_forget)
        if padding is None:
            return log_input, log_forget
        hidden = padding.unsqueeze(-1)
        return log_input.masked_fill(hidden, -torch.inf), log_forget.masked_fill(hidden, 0)


class XLSTMEncoder(MixerEncoder):
    """MLSTM layers that read both ways.

    Args:
        d_embedding: D, a multiple of num_heads.
        num_layers: layers, each with a recurrence for either direction.
        num_heads: heads of the recurrences.
        d_key: width of the keys of each head.
        d_ff: inner width of the feed-forward layers.
        dropout: on embeddings and on what each part of a layer adds.

    Raises:
        UserError: a width that the heads cannot share.
    """

    def __init__(
        self,
        d_embedding: int,
        num_layers: int = 2,
        *,
        num_heads: int = 4,
        d_key: int = 16,
        d_ff: int = 512,
        dropout: float = 0.1,
    ) -> None:
        new_mixer = partial(MLSTMMixer, num_heads=num_heads, d_key=d_key)
        super().__init__(d_embedding, new_mixer, num_layers, d_ff=d_ff, dropout=dropout)


class XLSTMDecoder(MixerDecoder):
    """MLSTM layers, each followed by attention over the source.

    Args:
        d_embedding: D, a multiple of num_heads.
        memory: what the encoder hands over.
        num_layers: layers.
        num_heads: heads of the recurrences, and of the attention over the source.
        d_key: width of the keys of each head of a recurrence.
        d_ff: inner width of the feed-forward layers.
        dropout: on embeddings and on what each part of a layer adds.

    Raises:
        UserError: a width that the heads cannot share.
    """

    def __init__(
        self,
        d_embedding: int,
        memory: MemoryShape,
        num_layers: int = 2,
        *,
        num_heads: int = 4,
        d_key: int = 16,
        d_ff: int = 512,
        dropout: float = 0.1,
    ) -> None:
        new_mixer = partial(MLSTMMixer, num_heads=num_heads, d_key=d_key)
        super().__init__(d_embedding, memory, new_mixer, num_layers, num_heads=num_heads, d_ff=d_ff, dropout=dropout)


class XLSTM(Seq2SeqModule):
    """LSTMs with a matrix as memory in encoder and decoder, and attention between the two alone.

    The mLSTM of Beck et al. (2024, arXiv:2405.04517). The paper's other cell, the sLSTM, whose gates see the last state
    and so wait for time, is not built.

    Card:
        year: 2024
        idea: the LSTM's cell becomes a matrix that keys write and queries read; exponential gates overrule the past.
        equation: `C_t = f_t C_{t-1} + i_t v_t k_t^T`, `h_t = o_t * C_t q_t / max(|n_t . q_t|, 1)`
        training: O(T D (Q + N) + T D^2 + T S D), chunks of Q tokens at once
        decoding: O(D N + S D + D^2), constant memory beside the source
        use: long sequences with much to remember and to revise.
        paper: Beck et al., 2024, arXiv:2405.04517
        embeddings: D*(U+V) + V*(D+1)
        encoder: N*(2*(D*(2*H*Y+3*D) + 2*H*(D+1) + D) + 2*D*F+D+F + 2*D) + D
        decoder: L*(D*(2*H*Y+3*D) + 2*H*(D+1) + D + 4*D*(D+1) + 2*D*F+D+F + 3*D) + D

    Args:
        src_vocab_size: symbols of the source vocabulary; the command line fills it in.
        tgt_vocab_size: symbols of the target vocabulary; null: one vocabulary for both sides.
        d_model: width of embeddings and states, a multiple of num_heads.
        num_encoder_layers: layers of the encoder.
        num_decoder_layers: layers of the decoder.
        num_heads: heads of the recurrences, and of the attention over the source.
        d_key: width of the keys of each head of a recurrence.
        d_ff: inner width of the feed-forward layers.
        dropout: on embeddings and on what each part of a layer adds.
        tie_embeddings: what shares one matrix: "all" embeddings and the readout (the source's with a joint vocabulary
            alone), the "readout" and the target's, or "none".

    Raises:
        UserError: d_model is no multiple of num_heads.
    """

    def __init__(
        self,
        src_vocab_size: int,
        tgt_vocab_size: int | None = None,
        *,
        d_model: int = 256,
        num_encoder_layers: int = 3,
        num_decoder_layers: int = 3,
        num_heads: int = 4,
        d_key: int = 32,
        d_ff: int = 1024,
        dropout: float = 0.1,
        tie_embeddings: Tie = "none",
    ) -> None:
        check_at_least(1, num_encoder_layers=num_encoder_layers, num_decoder_layers=num_decoder_layers)
        encoder = XLSTMEncoder(
            d_model, num_encoder_layers, num_heads=num_heads, d_key=d_key, d_ff=d_ff, dropout=dropout
        )
        decoder = XLSTMDecoder(
            d_model, encoder.shape, num_decoder_layers, num_heads=num_heads, d_key=d_key, d_ff=d_ff, dropout=dropout
        )
        super().__init__(
            assemble(encoder, decoder, src_vocab_size, tgt_vocab_size, d_model, tie_embeddings, embedding_std=1.0)
        )
