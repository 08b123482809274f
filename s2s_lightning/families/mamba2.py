"""Mamba-2 (Dao & Gu, 2024, arXiv:2405.21060) as an encoder-decoder with attention between the two.

Shape letters: B batch, T positions, D model, I inner width, H heads, P width of a head, G groups, N state.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from s2s_lightning.errors import UserError, check_at_least
from s2s_lightning.families.mixer import NORM_EPS, MixerDecoder, MixerEncoder
from s2s_lightning.model import MemoryShape, Tie, assemble
from s2s_lightning.nn.convolution import ShortConvolution
from s2s_lightning.nn.eager import eager
from s2s_lightning.nn.recurrent_mixer import Mixer
from s2s_lightning.nn.ssd import ssd
from s2s_lightning.training.module import Seq2SeqModule

SMALLEST_STEP = 1e-30
"""Below it dt counts as this, without a gradient, so that its logarithm is finite."""


@dataclass(frozen=True, kw_only=True)
class StateSpace:
    """Options of a Mamba-2 layer.

    Args:
        expand: inner width, in widths of the model.
        d_head: width of a head, a divisor of the inner width.
        d_state: entries of the state for each channel.
        num_groups: groups of heads that share what reads and writes the state, a divisor of the heads.
        kernel_size: tokens that the convolution before the recurrence sees.
    """

    expand: int = 2
    d_head: int = 32
    d_state: int = 32
    num_groups: int = 1
    kernel_size: int = 4

    def new_mixer(self, d_model: int) -> "Mamba2Mixer":
        """Raises UserError for an inner width that the heads cannot share, or heads that the groups cannot."""
        check_at_least(1, **vars(self))
        d_inner = self.expand * d_model
        if d_inner % (self.d_head * self.num_groups):
            raise UserError(
                f"expand * d_model={d_inner} is no multiple of d_head * num_groups={self.d_head * self.num_groups}: "
                "change one of them"
            )
        return Mamba2Mixer(d_model, self)


class Carry(NamedTuple):
    """The last inputs of the convolution (B, k - 1, I + 2GN) and the state (B, G, N, H/G, P)."""

    inputs: Tensor
    state: Tensor


class Mamba2Mixer(Mixer):
    """The Mamba-2 layer (Dao & Gu, 2024, arXiv:2405.21060).

    gate z, inputs and step sizes from one product; a short convolution and SiLU give x, B and C of each position;
    h_t = exp(-a dt_t) h_{t-1} + dt_t B_t x_t^T and y_t = h_t^T C_t + d x_t; the output is W RMSNorm(y * silu(z)).

    Initialisation of a, dt and d, that of the authors' code (state-spaces/mamba): a uniform in [1, 16], dt log-uniform
    in [0.001, 0.1], d one.

    Args:
        d_model: D.
        space: sizes of the layer, already checked.
    """

    def __init__(self, d_model: int, space: StateSpace) -> None:
        super().__init__()
        self.d_model = d_model
        self.groups, self.d_state = space.num_groups, space.d_state
        self.d_inner = space.expand * d_model
        self.num_heads = self.d_inner // space.d_head
        d_convolved = self.d_inner + 2 * self.groups * self.d_state
        self.parts = (self.d_inner, d_convolved, self.num_heads)
        self.input = nn.Linear(d_model, sum(self.parts), bias=False)
        self.convolution = ShortConvolution(d_convolved, space.kernel_size, bias=True)
        self.log_a = nn.Parameter(torch.empty(self.num_heads).uniform_(1, 16).log())
        self.skip = nn.Parameter(torch.ones(self.num_heads))
        dt = torch.empty(self.num_heads).uniform_(math.log(1e-3), math.log(1e-1)).exp()
        self.step_bias = nn.Parameter(dt + torch.log(-torch.expm1(-dt)))  # softplus of it is dt
        self.norm = nn.Parameter(torch.ones(self.d_inner))
        self.output = nn.Linear(self.d_inner, d_model, bias=False)

    def start(self, rows: int, like: Tensor) -> Carry:
        heads = (self.num_heads // self.groups, self.d_inner // self.num_heads)
        dtype = torch.promote_types(like.dtype, torch.float32)
        state = like.new_zeros(rows, self.groups, self.d_state, *heads, dtype=dtype)
        return Carry(self.convolution.start(rows, state), state)

    @eager
    def forward(self, x: Tensor, carry: Carry, padding: Tensor | None = None) -> tuple[Tensor, Carry]:
        gate, convolved, step = self.input(x).split_with_sizes(self.parts, -1)
        convolved, inputs = self.convolution(convolved, carry.inputs, padding)
        convolved = F.silu(convolved).to(carry.state.dtype)
        y, state = self._recur(convolved, *self._log_steps(step.to(carry.state.dtype), padding), carry.state)
        return self.output(self._gated_norm(y, gate).to(gate.dtype)), Carry(inputs, state)

    def _log_steps(self, step: Tensor, padding: Tensor | None) -> tuple[Tensor, Tensor]:
        """Log dt and log of the decay (B, T, H); at padding nothing enters and nothing decays."""
        size = F.softplus(step + self.step_bias)
        log_size, log_decay = size.clamp(min=SMALLEST_STEP).log(), size * -self.log_a.exp()
        if padding is None:
            return log_size, log_decay
        hidden = padding.unsqueeze(-1)
        return log_size.masked_fill(hidden, -torch.inf), log_decay.masked_fill(hidden, 0)

    def _recur(self, convolved: Tensor, log_size: Tensor, log_decay: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Run the recurrence: convolved (B, T, I + 2GN), log dt and log decay (B, T, H) -> y (B, T, I) and the state
        after it.
        """
        d_keys = self.groups * self.d_state
        x, b, c = convolved.split_with_sizes((self.d_inner, d_keys, d_keys), -1)
        b, c = (torch.unflatten(part, -1, (self.groups, -1)) for part in (b, c))
        heads = self.groups, self.num_heads // self.groups
        x = torch.unflatten(x, -1, (*heads, -1))
        log_size, log_decay = (torch.unflatten(part, -1, heads) for part in (log_size, log_decay))
        y, state = ssd(x, log_size, log_decay, b, c, state)
        return torch.addcmul(y, self.skip.view(*heads, 1), x).flatten(2), state

    def _gated_norm(self, y: Tensor, gate: Tensor) -> Tensor:
        """RMSNorm of y * silu(gate), each group for itself."""
        y = torch.unflatten((y * F.silu(gate)), -1, (self.groups, -1))
        return F.rms_norm(y, y.shape[-1:], eps=NORM_EPS).flatten(-2) * self.norm


class Mamba2Encoder(MixerEncoder):
    """Mamba-2 layers that read both ways.

    Args:
        d_embedding: D.
        num_layers: layers, each with a recurrence for either direction.
        d_ff: inner width of the feed-forward layers.
        dropout: on embeddings and on what each part of a layer adds.
        space: sizes of the recurrences.

    Raises:
        UserError: sizes that do not divide one another.
    """

    def __init__(
        self,
        d_embedding: int,
        num_layers: int = 2,
        *,
        d_ff: int = 256,
        dropout: float = 0.1,
        space: StateSpace = StateSpace(),
    ) -> None:
        super().__init__(d_embedding, space.new_mixer, num_layers, d_ff=d_ff, dropout=dropout)


class Mamba2Decoder(MixerDecoder):
    """Mamba-2 layers, each followed by attention over the source.

    Args:
        d_embedding: D.
        memory: what the encoder hands over.
        num_layers: layers.
        num_heads: heads of the attention over the source.
        d_ff: inner width of the feed-forward layers.
        dropout: on embeddings and on what each part of a layer adds.
        space: sizes of the recurrences.

    Raises:
        UserError: sizes that do not divide one another.
    """

    def __init__(
        self,
        d_embedding: int,
        memory: MemoryShape,
        num_layers: int = 2,
        *,
        num_heads: int = 4,
        d_ff: int = 256,
        dropout: float = 0.1,
        space: StateSpace = StateSpace(),
    ) -> None:
        super().__init__(
            d_embedding, memory, space.new_mixer, num_layers, num_heads=num_heads, d_ff=d_ff, dropout=dropout
        )


class Mamba2(Seq2SeqModule):
    """State space layers in both encoder and decoder, and attention between the two alone.

    Mamba-2 (Dao & Gu, 2024, arXiv:2405.21060), where the encoder-decoder of Pitorro et al. (2024, arXiv:2407.05489) has
    the first Mamba. Here the encoder reads both ways, by two recurrences a layer.

    Card:
        year: 2024
        idea: a state with input-dependent decay replaces self-attention; it is trained by matrix products over chunks.
        equation: `h_t = exp(-a dt_t) h_{t-1} + dt_t B_t x_t^T`, `y_t = h_t^T C_t + d x_t`
        training: O(T D (Q + N) + T D^2 + T S D), chunks of Q tokens at once
        decoding: O(D N + S D + D^2), constant memory beside the source
        use: long sequences, where a cache that grows would be the cost.
        paper: Dao & Gu, 2024, arXiv:2405.21060; as encoder-decoder Pitorro et al., 2024, arXiv:2407.05489
        embeddings: D*(U+V) + V*(D+1)
        encoder: N*(2*(D*(3*X*D+2*J*Z+X*D//W) + (K+1)*(X*D+2*J*Z) + 3*X*D//W + X*D) + 2*D*F+D+F + 2*D) + D
        decoder: L*(D*(3*X*D+2*J*Z+X*D//W) + (K+1)*(X*D+2*J*Z) + 3*X*D//W + X*D + 4*D*(D+1) + 2*D*F+D+F + 3*D) + D

    Args:
        src_vocab_size: symbols of the source vocabulary; the command line fills it in.
        tgt_vocab_size: symbols of the target vocabulary; null: one vocabulary for both sides.
        d_model: width of embeddings and states.
        num_encoder_layers: layers of the encoder.
        num_decoder_layers: layers of the decoder.
        expand: inner width of the recurrences, in widths of the model.
        d_head: width of a head of a recurrence, a divisor of expand * d_model.
        d_state: entries of the state for each channel.
        num_groups: groups of heads that share what reads and writes the state, a divisor of the heads.
        kernel_size: tokens that the convolution before a recurrence sees.
        num_heads: heads of the attention over the source, a divisor of d_model.
        d_ff: inner width of the feed-forward layers.
        dropout: on embeddings and on what each part of a layer adds.
        tie_embeddings: what shares one matrix: "all" embeddings and the readout (the source's with a joint vocabulary
            alone), the "readout" and the target's, or "none".

    Raises:
        UserError: sizes that do not divide one another.
    """

    def __init__(
        self,
        src_vocab_size: int,
        tgt_vocab_size: int | None = None,
        *,
        d_model: int = 256,
        num_encoder_layers: int = 3,
        num_decoder_layers: int = 3,
        expand: int = 2,
        d_head: int = 32,
        d_state: int = 32,
        num_groups: int = 1,
        kernel_size: int = 4,
        num_heads: int = 4,
        d_ff: int = 512,
        dropout: float = 0.1,
        tie_embeddings: Tie = "none",
    ) -> None:
        check_at_least(1, num_encoder_layers=num_encoder_layers, num_decoder_layers=num_decoder_layers)
        space = StateSpace(
            expand=expand, d_head=d_head, d_state=d_state, num_groups=num_groups, kernel_size=kernel_size
        )
        encoder = Mamba2Encoder(d_model, num_encoder_layers, d_ff=d_ff, dropout=dropout, space=space)
        decoder = Mamba2Decoder(
            d_model, encoder.shape, num_decoder_layers, num_heads=num_heads, d_ff=d_ff, dropout=dropout, space=space
        )
        super().__init__(
            assemble(encoder, decoder, src_vocab_size, tgt_vocab_size, d_model, tie_embeddings, embedding_std=1.0)
        )
