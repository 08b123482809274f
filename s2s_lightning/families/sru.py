"""SRU: a light recurrence with a highway connection around it (Lei et al., 2018, arXiv:1709.02755)."""

import math
from functools import partial

import torch
from torch import Tensor, nn

from s2s_lightning.errors import check_at_least
from s2s_lightning.families.elementwise import BlockDecoder, BlockEncoder, Blocks
from s2s_lightning.model import Tie, assemble
from s2s_lightning.nn import gradient_taps
from s2s_lightning.nn.eager import eager
from s2s_lightning.nn.elementwise_recurrence import ElementwiseRecurrence
from s2s_lightning.nn.scan import single
from s2s_lightning.training.module import Seq2SeqModule

SATURATED = 1e4
"""A forget gate before its sigmoid that is exactly 1 after it."""


class SRULayer(ElementwiseRecurrence):
    """The SRU of EMNLP 2018, or with ``peephole`` off that of the first arXiv version.

    f_t = sigmoid(W_f x_t + v_f * c_{t-1} + b_f), r_t = sigmoid(W_r x_t + v_r * c_{t-1} + b_r)
    c_t = f_t * c_{t-1} + (1 - f_t) * W x_t
    h_t = r_t * c_t + (1 - r_t) * x_t * alpha

    Without v the gates see the input alone and the states are a linear scan. With it f_t and c_t are computed step by
    step, element by element; r_t is not, since it needs no more than the states. The first version has alpha = 1 and
    h_t = r_t * g(c_t) + ...; g is the identity here, as in EMNLP 2018.

    alpha = sqrt(1 + 2 exp(b)), for b_r = b at first, makes up for the variance that gates take. W has a variance of
    1 / D, in the gates half of it, and v of 1 / 2, as in the authors' code (asappresearch/sru).

    Args:
        d_model: D.
        both_ways: the first half of the channels reads forwards and the second backwards.
        peephole: the term v * c_{t-1} of the gates.
        highway_bias: b; below 0 the input passes more easily.
    """

    stacked_vectors = ("v",)

    def __init__(
        self, d_model: int, both_ways: bool = False, *, peephole: bool = True, highway_bias: float = 0.0
    ) -> None:
        super().__init__(d_model, both_ways=both_ways)
        self.linear = nn.Linear(d_model, 3 * d_model)
        self.v = nn.Parameter(torch.empty(2, d_model)) if peephole else None  # v_f and v_r
        self.highway_bias = highway_bias
        self.alpha = math.sqrt(1 + 2 * math.exp(highway_bias)) if peephole else 1.0
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform, with the variances above; biases 0 but for b_r."""
        bound = math.sqrt(3 / self.d_model)
        gate = bound * math.sqrt(0.5) if self.v is not None else bound
        for part, limit in zip(self.linear.weight.detach().chunk(3), (bound, gate, gate), strict=True):
            nn.init.uniform_(part, -limit, limit)
        nn.init.zeros_(self.linear.bias)
        nn.init.constant_(self.linear.bias.detach()[2 * self.d_model :], self.highway_bias)
        if self.v is not None:
            nn.init.uniform_(self.v, -math.sqrt(1.5), math.sqrt(1.5))

    def forward(self, x: Tensor, state: Tensor, padding: Tensor | None = None) -> tuple[Tensor, Tensor]:
        candidate, forget, reset = single(self.linear(x)).chunk(3, -1)
        if self.v is None:
            f = forget.sigmoid()
            c, last = self.scan(f, (1 - f) * candidate, state, padding)
        else:
            c, last, before = self.step_through(candidate, forget, state, padding)
            reset = reset + self.v[1] * before
        r = reset.sigmoid()
        return r * c + (1 - r) * (self.alpha * x), last

    @eager
    def step_through(
        self, candidate: Tensor, forget: Tensor, state: Tensor, padding: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return all c_t (B, T, D), the last one, and all c_{t-1}."""
        assert self.v is not None
        if padding is not None:
            forget = forget.masked_fill(padding.unsqueeze(-1), SATURATED)
        trace, states = gradient_taps.new_trace(), [state]
        for x_t, f_t in zip(self.turn(candidate).unbind(1), self.turn(forget).unbind(1), strict=True):
            f_t = torch.addcmul(f_t, self.v[0], state).sigmoid()
            state = torch.lerp(x_t, state, f_t)
            state = state if trace is None else trace(state)
            states.append(state)
        c = torch.stack(states, 1)
        return self.turn(c[:, 1:]), state, self.turn(c[:, :-1])


class SRU(Seq2SeqModule):
    """SRU as an encoder-decoder (Lei et al., 2018, arXiv:1709.02755): the version of EMNLP 2018.

    The paper, too, has SRUs in a Transformer; here they stand in place of its self-attention, so that decoding needs no
    cache, and the source is still read by attention.

    Initialisation: embeddings N(0, 1), matrices Xavier, biases 0; SRU's own as ``SRULayer`` says.

    Card:
        year: 2018
        idea: gates that see the input and their own channel, a highway around them; no matrix product waits for time.
        equation: `c_t = f_t * c_{t-1} + (1 - f_t) * W x_t`, `h_t = r_t * c_t + (1 - r_t) * x_t`
        training: O(T D^2 + T S D), T element-wise steps in a row
        decoding: O(D^2 + S D), constant memory beside the source
        use: recurrence at the price of a feed-forward layer.
        paper: Lei et al., 2018, arXiv:1709.02755
        embeddings: D*(U+V) + V*(D+1)
        encoder: N*(3*D*(D+1)+2*D + 2*D*F+D+F + 4*D) + 2*D
        decoder: L*(7*D*(D+1)+2*D + 2*D*F+D+F + 6*D) + 2*D

    Args:
        src_vocab_size: symbols of the source vocabulary; the command line fills it in.
        tgt_vocab_size: symbols of the target vocabulary; null: one vocabulary for both sides.
        d_model: width of embeddings and states, even and a multiple of num_heads.
        num_heads: heads of the decoder's attention over the source.
        d_ff: inner width of the feed-forward layers.
        num_encoder_layers: layers of the encoder, each with half of its states in either direction.
        num_decoder_layers: layers of the decoder.
        peephole: gates that see the last state of their channel (EMNLP 2018); without it, all steps are one scan
            (the first arXiv version).
        highway_bias: of the highway gates at first; below 0 the input passes more easily.
        dropout: on embeddings and on what each recurrence, attention or feed-forward layer adds.
        tie_embeddings: what shares one matrix: "all" embeddings and the readout (the source's with a joint vocabulary
            alone), the "readout" and the target's, or "none".

    Raises:
        UserError: d_model is odd or no multiple of num_heads.
    """

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
        peephole: bool = True,
        highway_bias: float = 0.0,
        dropout: float = 0.1,
        tie_embeddings: Tie = "none",
    ) -> None:
        check_at_least(1, num_encoder_layers=num_encoder_layers, num_decoder_layers=num_decoder_layers)
        new_layer = partial(SRULayer, peephole=peephole, highway_bias=highway_bias)
        blocks = Blocks(num_heads=num_heads, d_ff=d_ff, dropout=dropout)
        encoder = BlockEncoder(d_model, num_encoder_layers, new_layer, blocks=blocks)
        decoder = BlockDecoder(d_model, encoder.shape, num_decoder_layers, new_layer, blocks=blocks)
        super().__init__(
            assemble(encoder, decoder, src_vocab_size, tgt_vocab_size, d_model, tie_embeddings, embedding_std=1.0)
        )
