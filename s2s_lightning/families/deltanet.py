"""DeltaNet and Gated DeltaNet as encoder-decoders: a delta rule where a Transformer has self-attention.

Shape letters: d width of a head's keys, d' of its values, k width of the short convolution.
"""

import math
from functools import partial
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from s2s_lightning.errors import UserError, check_at_least
from s2s_lightning.families.mixer import MixerDecoder, MixerEncoder
from s2s_lightning.model import MemoryShape, Tie, assemble
from s2s_lightning.nn.convolution import ShortConvolution
from s2s_lightning.nn.eager import eager
from s2s_lightning.nn.linear_attention import delta_rule
from s2s_lightning.nn.norm import RMSNorm
from s2s_lightning.nn.recurrent_mixer import Mixer
from s2s_lightning.training.module import Seq2SeqModule

NORM_EPS = 1e-5
RATES, STEPS = (0.01, 16.0), (1e-3, 0.1)
"""What a decay begins with: exp(-rate * step), rates drawn uniformly, steps log-uniformly, as in the authors' code
(fla-org/flash-linear-attention), whose rates begin at 0."""


class DeltaCarry(NamedTuple):
    """Last inputs of the convolution (B, k - 1, 2 D + D') and state (B, H, d, d'), None before the first position."""

    inputs: Tensor
    state: Tensor | None


class DeltaRule(Mixer):
    """The layer of DeltaNet (Yang et al., 2024, arXiv:2406.06484).

    Queries, keys and values are products with x, then a short convolution and SiLU; queries and keys have length 1, so
    that a beta of 1 replaces all that the state holds for a key. beta = sigmoid(w x), for each head. What the queries
    read is divided by its root mean square, head by head, before the last product.

    Args:
        d_model: D of input and output, a multiple of num_heads.
        num_heads: H.
        d_value: D' = H d', a multiple of num_heads.
        kernel_size: k.

    Raises:
        UserError: a width that the heads cannot share.
    """

    def __init__(self, d_model: int, *, num_heads: int, d_value: int, kernel_size: int) -> None:
        super().__init__()
        check_at_least(1, num_heads=num_heads, d_value=d_value, kernel_size=kernel_size)
        for name, width in (("d_model", d_model), ("d_value", d_value)):
            if width % num_heads:
                raise UserError(f"{name}={width} is no multiple of num_heads={num_heads}: change one of them")
        self.d_model = d_model
        self.num_heads = num_heads
        self.widths = self.split_widths(d_value)
        self.input = nn.Linear(d_model, sum(self.widths), bias=False)
        self.convolution = ShortConvolution(2 * d_model + d_value, kernel_size)
        self.norm = RMSNorm(d_value // num_heads, NORM_EPS)
        self.output = nn.Linear(d_value, d_model, bias=False)
        nn.init.xavier_uniform_(self.input.weight)
        nn.init.xavier_uniform_(self.output.weight)

    def split_widths(self, d_value: int) -> tuple[int, ...]:
        """Return the widths of the parts of the first product: queries, keys and values; beta."""
        return 2 * self.d_model + d_value, self.num_heads

    def start(self, rows: int, like: Tensor) -> DeltaCarry:
        return DeltaCarry(self.convolution.start(rows, like), None)

    def forward(self, x: Tensor, carry: DeltaCarry, padding: Tensor | None = None) -> tuple[Tensor, DeltaCarry]:
        qkv, beta = self.input(x).split(self.widths, -1)
        y, carry = self.replace(qkv, beta, None, carry, padding)
        return self.output(self.norm(y).flatten(2)), carry

    @eager
    def replace(
        self, qkv: Tensor, beta: Tensor, log_decay: Tensor | None, carry: DeltaCarry, padding: Tensor | None
    ) -> tuple[Tensor, DeltaCarry]:
        """The convolution and the rule: qkv (B, T, 2 D + D'), beta before its sigmoid and log_decay (B, T, H).

        Returns:
            what the queries read (B, T, H, d'), and the carry after it.
        """
        rows, length, _ = qkv.shape
        qkv, inputs = self.convolution(qkv, carry.inputs, padding)
        qk, v = F.silu(qkv).tensor_split([2 * self.d_model], -1)
        q, k = unit(qk.view(rows, length, 2, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        v = v.view(rows, length, self.num_heads, -1).transpose(1, 2)
        log_decay = None if log_decay is None else log_decay.mT
        q = q * q.shape[-1] ** -0.5
        y, state = delta_rule(q, k, v, beta.sigmoid().mT, log_decay, carry.state, padding)
        return y.transpose(1, 2).to(beta.dtype), DeltaCarry(inputs, state)


class GatedDeltaRule(DeltaRule):
    """The layer of Gated DeltaNet (Yang et al., 2024, 3.4, arXiv:2412.06464).

    Beside what ``DeltaRule`` has, a decay a = exp(-exp(r) softplus(w x + b)) for each head, Mamba-2's, and a gate: what
    the queries read, normed, is multiplied with SiLU(W_G x).
    """

    def __init__(self, d_model: int, *, num_heads: int, d_value: int, kernel_size: int) -> None:
        super().__init__(d_model, num_heads=num_heads, d_value=d_value, kernel_size=kernel_size)
        self.log_rate = nn.Parameter(torch.empty(num_heads).uniform_(*RATES).log())
        step = torch.empty(num_heads).uniform_(*map(math.log, STEPS)).exp()
        self.decay_bias = nn.Parameter(step.expm1().log())  # its softplus is the step

    def split_widths(self, d_value: int) -> tuple[int, ...]:
        """Return the widths of the parts of the first product: queries, keys and values; beta; decay; gate."""
        return *super().split_widths(d_value), self.num_heads, d_value

    def forward(self, x: Tensor, carry: DeltaCarry, padding: Tensor | None = None) -> tuple[Tensor, DeltaCarry]:
        qkv, beta, decay, gate = self.input(x).split(self.widths, -1)
        decay = decay.to(self.decay_bias.dtype)
        log_decay = -self.log_rate.exp() * F.softplus(decay + self.decay_bias)
        y, carry = self.replace(qkv, beta, log_decay, carry, padding)
        return self.output(self.norm(y).flatten(2) * F.silu(gate)), carry


def unit(x: Tensor) -> Tensor:
    """Vectors (..., d) of length 1, but shorter ones where they are near 0; in float32 at least."""
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    return x * (x.square().sum(-1, keepdim=True) + 1e-6).rsqrt()


class DeltaNetEncoder(MixerEncoder):
    """The delta rule in both directions, and feed-forward layers.

    Args:
        d_embedding: D.
        num_layers: layers.
        num_heads: heads of each rule.
        d_value: width of the values, all heads together; null: D.
        d_ff: inner width of the feed-forward layers.
        kernel_size: inputs that a short convolution reads.
        dropout: on embeddings and on what each part of a layer adds.
    """

    rule: ClassVar[type[DeltaRule]] = DeltaRule

    def __init__(
        self,
        d_embedding: int,
        num_layers: int = 2,
        *,
        num_heads: int = 4,
        d_value: int | None = None,
        d_ff: int = 512,
        kernel_size: int = 4,
        dropout: float = 0.1,
    ) -> None:
        mixer = partial(
            self.rule, num_heads=num_heads, d_value=d_embedding if d_value is None else d_value, kernel_size=kernel_size
        )
        super().__init__(d_embedding, mixer, num_layers, d_ff=d_ff, dropout=dropout)


class DeltaNetDecoder(MixerDecoder):
    """The delta rule, attention over the source, and feed-forward layers.

    Args:
        d_embedding: D.
        memory: what the encoder hands over.
        num_layers: layers.
        num_heads: heads of each rule, and of the attention.
        d_value: width of the values, all heads together; null: D.
        d_ff: inner width of the feed-forward layers.
        kernel_size: inputs that a short convolution reads.
        dropout: on embeddings and on what each part of a layer adds.
    """

    rule: ClassVar[type[DeltaRule]] = DeltaRule

    def __init__(
        self,
        d_embedding: int,
        memory: MemoryShape,
        num_layers: int = 2,
        *,
        num_heads: int = 4,
        d_value: int | None = None,
        d_ff: int = 512,
        kernel_size: int = 4,
        dropout: float = 0.1,
    ) -> None:
        mixer = partial(
            self.rule, num_heads=num_heads, d_value=d_embedding if d_value is None else d_value, kernel_size=kernel_size
        )
        super().__init__(d_embedding, memory, mixer, num_layers, num_heads=num_heads, d_ff=d_ff, dropout=dropout)


class GatedDeltaNetEncoder(DeltaNetEncoder):
    """The gated delta rule in both directions, and feed-forward layers."""

    rule = GatedDeltaRule


class GatedDeltaNetDecoder(DeltaNetDecoder):
    """The gated delta rule, attention over the source, and feed-forward layers."""

    rule = GatedDeltaRule


class _DeltaNet(Seq2SeqModule):
    """DeltaNet and Gated DeltaNet without their layer.

    Args:
        src_vocab_size: symbols of the source vocabulary; the command line fills it in.
        tgt_vocab_size: symbols of the target vocabulary; null: one vocabulary for both sides.
        d_model: width of embeddings and states, a multiple of num_heads.
        num_heads: heads of each rule and attention.
        d_value: width of the values, all heads together, a multiple of num_heads; null: d_model.
        d_ff: inner width of the feed-forward layers.
        kernel_size: inputs that a short convolution reads.
        num_encoder_layers: layers of the encoder.
        num_decoder_layers: layers of the decoder.
        dropout: on embeddings and on what each part of a layer adds.
        tie_embeddings: what shares one matrix: "all" embeddings and the readout (the source's with a joint vocabulary
            alone), the "readout" and the target's, or "none".

    Raises:
        UserError: a width that the heads cannot share.
    """

    encoder: ClassVar[type[DeltaNetEncoder]]
    decoder: ClassVar[type[DeltaNetDecoder]]

    def __init__(
        self,
        src_vocab_size: int,
        tgt_vocab_size: int | None = None,
        *,
        d_model: int = 256,
        num_heads: int = 4,
        d_value: int | None = None,
        d_ff: int = 512,
        kernel_size: int = 4,
        num_encoder_layers: int = 2,
        num_decoder_layers: int = 2,
        dropout: float = 0.1,
        tie_embeddings: Tie = "none",
    ) -> None:
        check_at_least(1, num_encoder_layers=num_encoder_layers, num_decoder_layers=num_decoder_layers)
        check_at_least(1, d_model=d_model, d_value=d_value)
        sizes: dict[str, Any] = {
            "num_heads": num_heads,
            "d_value": d_value,
            "d_ff": d_ff,
            "kernel_size": kernel_size,
            "dropout": dropout,
        }
        encoder = self.encoder(d_model, num_encoder_layers, **sizes)
        decoder = self.decoder(d_model, encoder.shape, num_decoder_layers, **sizes)
        super().__init__(
            assemble(encoder, decoder, src_vocab_size, tgt_vocab_size, d_model, tie_embeddings, embedding_std=1.0)
        )


class DeltaNet(_DeltaNet):
    """The delta rule in encoder and decoder, and attention over the source.

    The rule is Schlag et al.'s (2021, arXiv:2102.11174), the layer Yang et al.'s (2024, arXiv:2406.06484), whose models
    are language models: here the encoder reads both ways, and the decoder attends to what it read.

    Card:
        year: 2021
        idea: a memory of keys and values that is corrected instead of added to.
        equation: `S_t = (I - b k k^T) S_{t-1} + b k v^T`, `o_t = S_t^T q_t`
        training: O(T D^2 + T S D), chunks at once
        decoding: O(S D + D^2), a state of constant size
        use: long targets, where a cache would grow, and recall of what was read matters.
        paper: Schlag et al., 2021, arXiv:2102.11174; in parallel Yang et al., 2024, arXiv:2406.06484
        embeddings: D*(U+V) + V*(D+1)
        encoder: N*(2*(D*(2*D+2*C+H) + K*(2*D+C) + C//H) + 2*D*F+D+F + 2*D) + D
        decoder: L*(D*(2*D+2*C+H) + K*(2*D+C) + C//H + 4*D*(D+1) + 2*D*F+D+F + 3*D) + D
    """

    encoder = DeltaNetEncoder
    decoder = DeltaNetDecoder


class GatedDeltaNet(_DeltaNet):
    """The gated delta rule in encoder and decoder, and attention over the source (Yang et al., 2024, arXiv:2412.06464).

    The paper's are language models, whose feed-forward layers are SwiGLU (3.4): here those are plain, the encoder reads
    both ways, and the decoder attends to what it read.

    Card:
        year: 2024
        idea: the delta rule corrects single memories, a decay forgets all of them.
        equation: `S_t = a_t (I - b k k^T) S_{t-1} + b k v^T`, `o_t = S_t^T q_t`
        training: O(T D^2 + T S D), chunks at once
        decoding: O(S D + D^2), a state of constant size
        use: as DeltaNet, where what is over should be forgotten.
        paper: Yang et al., 2024, arXiv:2412.06464
        embeddings: D*(U+V) + V*(D+1)
        encoder: N*(2*(D*(2*D+3*C+2*H) + K*(2*D+C) + C//H + 2*H) + 2*D*F+D+F + 2*D) + D
        decoder: L*(D*(2*D+3*C+2*H) + K*(2*D+C) + C//H + 2*H + 4*D*(D+1) + 2*D*F+D+F + 3*D) + D
    """

    encoder = GatedDeltaNetEncoder
    decoder = GatedDeltaNetDecoder
