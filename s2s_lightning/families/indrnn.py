"""IndRNN: a ReLU recurrence whose channels do not see each other (Li et al., 2018, arXiv:1803.04831)."""

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


class IndRNNLayer(ElementwiseRecurrence):
    """h_t = relu(W x_t + u * h_{t-1} + b), |u| <= bound; u begins uniform in (0, min(1, bound)).

    u is clipped in place, as in the authors' program: after each optimizer step (``project_to_bound``), and in training
    where it is used.

    Args:
        d_model: D.
        both_ways: the first half of the channels reads forwards and the second backwards.
        bound: largest |u|. gamma^(1/T) lets a state grow by gamma at most in T steps.
    """

    def __init__(self, d_model: int, both_ways: bool = False, *, bound: float = 1.0) -> None:
        super().__init__(d_model, both_ways=both_ways)
        self.linear = nn.Linear(d_model, d_model)
        self.u = nn.Parameter(torch.empty(d_model))
        self.bound = bound
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Xavier W, b of 0; u of each channel remembers for another while."""
        nn.init.xavier_uniform_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        nn.init.uniform_(self.u, 0, min(1.0, self.bound))

    def project_to_bound(self) -> None:
        """Clip u to its bound, in place."""
        self.u.data.clamp_(-self.bound, self.bound)

    def recurrent_weight(self) -> Tensor:
        """Return u within its bound."""
        if self.training:
            self.project_to_bound()
        return self.u.clamp(-self.bound, self.bound)

    @eager
    def forward(self, x: Tensor, state: Tensor, padding: Tensor | None = None) -> tuple[Tensor, Tensor]:
        drive = single(self.linear(x))
        u = single(self.recurrent_weight()).expand_as(drive)
        if padding is not None:  # relu(0 + 1 * h) = h, as h is not negative
            drive, u = drive.masked_fill(padding.unsqueeze(-1), 0), u.masked_fill(padding.unsqueeze(-1), 1)
        trace, states = gradient_taps.new_trace(), []
        for x_t, u_t in zip(self.turn(drive).unbind(1), self.turn(u).unbind(1), strict=True):
            state = torch.addcmul(x_t, u_t, state).relu()
            state = state if trace is None else trace(state)
            states.append(state)
        return self.turn(torch.stack(states, 1)), state


class IndRNN(Seq2SeqModule):
    """IndRNN as an encoder-decoder (Li et al., 2018, arXiv:1803.04831).

    The paper stacks IndRNNs with batch normalisation, or with residual connections; here each stands in a pre-norm
    block, and the decoder's blocks attend to the source.

    Initialisation: embeddings N(0, 1), matrices Xavier, biases 0, recurrent weights uniform in (0, 1).

    Card:
        year: 2018
        idea: a recurrent weight for each channel instead of a matrix; layers mix the channels, ReLU keeps gradients.
        equation: `h_t = relu(W x_t + u * h_{t-1} + b)`, `|u| <= gamma^(1/T)`
        training: O(T D^2 + T S D), T element-wise steps in a row
        decoding: O(D^2 + S D), constant memory beside the source
        use: as the smallest recurrence that remembers for long.
        paper: Li et al., 2018, arXiv:1803.04831
        embeddings: D*(U+V) + V*(D+1)
        encoder: N*(D*(D+1)+D + 2*D*F+D+F + 4*D) + 2*D
        decoder: L*(5*D*(D+1)+D + 2*D*F+D+F + 6*D) + 2*D

    Args:
        src_vocab_size: symbols of the source vocabulary; the command line fills it in.
        tgt_vocab_size: symbols of the target vocabulary; null: one vocabulary for both sides.
        d_model: width of embeddings and states, even and a multiple of num_heads.
        num_heads: heads of the decoder's attention over the source.
        d_ff: inner width of the feed-forward layers.
        num_encoder_layers: layers of the encoder, each with half of its states in either direction.
        num_decoder_layers: layers of the decoder.
        gamma: 1 or more, by which a state may grow in ``memory_length`` steps: |u| <= gamma^(1/memory_length).
        memory_length: steps, about the longest sequence.
        dropout: on embeddings and on what each recurrence, attention or feed-forward layer adds.
        tie_embeddings: what shares one matrix: "all" embeddings and the readout (the source's with a joint vocabulary
            alone), the "readout" and the target's, or "none".

    Raises:
        UserError: d_model is odd or no multiple of num_heads, gamma or memory_length is below 1.
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
        gamma: float = 2.0,
        memory_length: int = 100,
        dropout: float = 0.1,
        tie_embeddings: Tie = "none",
    ) -> None:
        check_at_least(1, num_encoder_layers=num_encoder_layers, num_decoder_layers=num_decoder_layers)
        check_at_least(1, memory_length=memory_length, gamma=gamma)
        new_layer = partial(IndRNNLayer, bound=gamma ** (1 / memory_length))
        blocks = Blocks(num_heads=num_heads, d_ff=d_ff, dropout=dropout)
        encoder = BlockEncoder(d_model, num_encoder_layers, new_layer, blocks=blocks)
        decoder = BlockDecoder(d_model, encoder.shape, num_decoder_layers, new_layer, blocks=blocks)
        super().__init__(
            assemble(encoder, decoder, src_vocab_size, tgt_vocab_size, d_model, tie_embeddings, embedding_std=1.0)
        )
