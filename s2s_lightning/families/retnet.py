"""RetNet (Sun et al., 2023, arXiv:2307.08621) as an encoder-decoder: retention where a Transformer has self-attention.

Shape letter: d width of a head's keys, d' of its values.
"""

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from s2s_lightning.errors import UserError, check_at_least
from s2s_lightning.families.mixer import MixerDecoder, MixerEncoder
from s2s_lightning.model import MemoryShape, Tie, assemble
from s2s_lightning.nn.linear_attention import retention
from s2s_lightning.nn.positions import RotaryPositions, Rotation, ends, rotate
from s2s_lightning.nn.recurrent_mixer import Mixer
from s2s_lightning.training.module import Seq2SeqModule

NORM_EPS = 1e-5


class RetentionCarry(NamedTuple):
    """The state (B, H, d, d'), None before the first position, and how many positions were read (B,)."""

    state: Tensor | None
    position: Tensor


class MultiScaleRetention(Mixer):
    """Retention heads that forget at unlike rates, and a gate (Sun et al., 2023, 2.2, arXiv:2307.08621).

    MSR(x) = (swish(x W_G) * GroupNorm(heads)) W_O, with gamma = 1 - 2^(-5 - h) for head h, and queries and keys turned
    by their positions. The norm has neither scale nor shift, as in the authors' code (microsoft/torchscale), where it
    divides by the root mean square. Of the paper's three factors for scores, which the norm undoes, this has
    1 / sqrt(d) alone. The angles are those of ``RotaryPositions``; the authors' reach a little farther.

    Args:
        d_model: D of input and output, a multiple of 2 * num_heads.
        num_heads: H.
        d_value: H d', a multiple of num_heads; the paper's is 2 D.

    Raises:
        UserError: a width that the heads cannot share.
    """

    def __init__(self, d_model: int, *, num_heads: int, d_value: int) -> None:
        super().__init__()
        check_at_least(1, num_heads=num_heads, d_value=d_value)
        if d_model % (2 * num_heads):
            raise UserError(f"d_model={d_model} is no multiple of 2 * num_heads={2 * num_heads}: change one of them")
        if d_value % num_heads:
            raise UserError(f"d_value={d_value} is no multiple of num_heads={num_heads}: change one of them")
        self.d_model = d_model
        self.num_heads = num_heads
        self.widths = [2 * d_model, d_value, d_value]  # queries and keys, values, gate
        self.input = nn.Linear(d_model, sum(self.widths), bias=False)
        self.positions = RotaryPositions(d_model // num_heads)
        self.output = nn.Linear(d_value, d_model, bias=False)
        for part in (*torch.split(self.input.weight.detach(), self.widths), self.output.weight):
            nn.init.xavier_uniform_(part)

    def start(self, rows: int, like: Tensor) -> RetentionCarry:
        return RetentionCarry(None, torch.zeros(rows, dtype=torch.long, device=like.device))

    def forward(self, x: Tensor, carry: RetentionCarry, padding: Tensor | None = None) -> tuple[Tensor, RetentionCarry]:
        rows, length, _ = x.shape
        qk, v, gate = self.input(x).split(self.widths, -1)
        turned = rotate(qk.view(rows, length, 2, self.num_heads, -1).permute(2, 0, 3, 1, 4), self._rotation(x, carry))
        q, k = turned.unbind()
        v = v.view(rows, length, self.num_heads, -1).transpose(1, 2)
        y, state = retention(q * q.shape[-1] ** -0.5, k, v, self._log_decay(x.device), carry.state, padding)
        y = F.layer_norm(y, y.shape[-1:], eps=NORM_EPS).transpose(1, 2).flatten(2).to(gate.dtype)
        position = carry.position + (length if padding is None else ends(padding))
        return self.output(F.silu(gate) * y), RetentionCarry(state, position)

    def _log_decay(self, device: torch.device) -> Tensor:
        return torch.log1p(-(2.0 ** -torch.arange(5, 5 + self.num_heads, dtype=torch.float64, device=device)))

    def _rotation(self, x: Tensor, carry: RetentionCarry) -> Rotation:
        """Return the rotation of each row's next positions (B, 1, T, d/2), from sines of B + T positions instead of B *
        T.
        """
        single = x.to(torch.promote_types(x.dtype, torch.float32))
        near = self.positions.rotation(single, torch.arange(x.shape[1], device=x.device))
        far = self.positions.rotation(single, carry.position.unsqueeze(1))
        return Rotation(near.cos * far.cos - near.sin * far.sin, near.sin * far.cos + near.cos * far.sin)


class RetNetEncoder(MixerEncoder):
    """Retention in both directions, and feed-forward layers.

    Args:
        d_embedding: D.
        num_layers: layers.
        num_heads: heads of each retention.
        d_value: width of the values, all heads together; null: 2 D.
        d_ff: inner width of the feed-forward layers; null: 2 D.
        dropout: on embeddings and on what each part of a layer adds.
    """

    def __init__(
        self,
        d_embedding: int,
        num_layers: int = 2,
        *,
        num_heads: int = 4,
        d_value: int | None = None,
        d_ff: int | None = None,
        dropout: float = 0.1,
    ) -> None:
        mixer = partial(
            MultiScaleRetention, num_heads=num_heads, d_value=2 * d_embedding if d_value is None else d_value
        )
        super().__init__(
            d_embedding, mixer, num_layers, d_ff=2 * d_embedding if d_ff is None else d_ff, dropout=dropout
        )


class RetNetDecoder(MixerDecoder):
    """Retention, attention over the source, and feed-forward layers.

    Args:
        d_embedding: D.
        memory: what the encoder hands over.
        num_layers: layers.
        num_heads: heads of each retention, and of the attention.
        d_value: width of the values, all heads together; null: 2 D.
        d_ff: inner width of the feed-forward layers; null: 2 D.
        dropout: on embeddings and on what each part of a layer adds.
    """

    def __init__(
        self,
        d_embedding: int,
        memory: MemoryShape,
        num_layers: int = 2,
        *,
        num_heads: int = 4,
        d_value: int | None = None,
        d_ff: int | None = None,
        dropout: float = 0.1,
    ) -> None:
        mixer = partial(
            MultiScaleRetention, num_heads=num_heads, d_value=2 * d_embedding if d_value is None else d_value
        )
        d_ff = 2 * d_embedding if d_ff is None else d_ff
        super().__init__(d_embedding, memory, mixer, num_layers, num_heads=num_heads, d_ff=d_ff, dropout=dropout)


class RetNet(Seq2SeqModule):
    """Retention in encoder and decoder (Sun et al., 2023, arXiv:2307.08621), and attention over the source.

    The paper's is a language model with layer normalisation: here the encoder reads both ways, the decoder attends to
    what it read, and norms divide by the root mean square, as in the authors' code.

    Card:
        year: 2023
        idea: attention without a softmax, whose weights fade with distance, each head at its own rate, is a recurrence.
        equation: `S_t = gamma S_{t-1} + k_t v_t^T`, `o_t = S_t^T q_t`
        training: O(T D^2 + T S D), chunks at once
        decoding: O(S D + D^2), a state of constant size
        use: long targets, where a cache would grow.
        paper: Sun et al., 2023, arXiv:2307.08621
        embeddings: D*(U+V) + V*(D+1)
        encoder: N*(2*(2*D*D + 3*D*C) + 2*D*F+D+F + 2*D) + D
        decoder: L*(2*D*D + 3*D*C + 4*D*(D+1) + 2*D*F+D+F + 3*D) + D

    Args:
        src_vocab_size: symbols of the source vocabulary; the command line fills it in.
        tgt_vocab_size: symbols of the target vocabulary; null: one vocabulary for both sides.
        d_model: width of embeddings and states, a multiple of 2 * num_heads.
        num_heads: heads of each retention and attention.
        d_value: width of the values, all heads together, a multiple of num_heads; null: 2 * d_model, the paper's.
        d_ff: inner width of the feed-forward layers; null: 2 * d_model, the paper's.
        num_encoder_layers: layers of the encoder.
        num_decoder_layers: layers of the decoder.
        dropout: on embeddings and on what each part of a layer adds.
        tie_embeddings: what shares one matrix: "all" embeddings and the readout (the source's with a joint vocabulary
            alone), the "readout" and the target's, or "none".

    Raises:
        UserError: a width that the heads cannot share.
    """

    def __init__(
        self,
        src_vocab_size: int,
        tgt_vocab_size: int | None = None,
        *,
        d_model: int = 256,
        num_heads: int = 4,
        d_value: int | None = None,
        d_ff: int | None = None,
        num_encoder_layers: int = 2,
        num_decoder_layers: int = 2,
        dropout: float = 0.1,
        tie_embeddings: Tie = "none",
    ) -> None:
        check_at_least(1, num_encoder_layers=num_encoder_layers, num_decoder_layers=num_decoder_layers)
        check_at_least(1, d_model=d_model, d_value=d_value, d_ff=d_ff)
        sizes: dict[str, Any] = {"num_heads": num_heads, "d_value": d_value, "d_ff": d_ff, "dropout": dropout}
        encoder = RetNetEncoder(d_model, num_encoder_layers, **sizes)
        decoder = RetNetDecoder(d_model, encoder.shape, num_decoder_layers, **sizes)
        super().__init__(
            assemble(encoder, decoder, src_vocab_size, tgt_vocab_size, d_model, tie_embeddings, embedding_std=1.0)
        )
