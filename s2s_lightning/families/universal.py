"""The Universal Transformer (Dehghani et al., 2019, arXiv:1807.03819): one layer, applied again and again.

Shape letter: R steps of the recurrence in depth.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from s2s_lightning.errors import check_at_least
from s2s_lightning.families.transformer import DecoderLayer, EncoderLayer, Layers, Source, initialise
from s2s_lightning.model import (
    Decoder,
    DecoderOutput,
    Encoder,
    Memory,
    MemoryShape,
    OfSentence,
    State,
    Tie,
    assemble,
    masked_mean,
)
from s2s_lightning.nn.attention import padding_bias
from s2s_lightning.nn.dropout import Dropout
from s2s_lightning.nn.key_value_cache import Cache
from s2s_lightning.nn.layers import LayerDrop, pass_through
from s2s_lightning.nn.positions import SinusoidalPositions
from s2s_lightning.training.module import Seq2SeqModule


def step_signals(x: Tensor, num_steps: int) -> Tensor:
    """The sinusoidal vectors of the steps 1 to R, (R, 1, D), in the type of x (B, T, D)."""
    steps = torch.arange(1, num_steps + 1, device=x.device)
    signals: Tensor = SinusoidalPositions()(x.new_zeros(num_steps, x.shape[-1]), steps)
    return signals.unsqueeze(1)


class UniversalEncoder(Encoder):
    """One layer of a Transformer, R times; before each, positions and the step are added.

    Args:
        d_embedding: D.
        num_steps: R.
        layers: what the layer is made of.

    Raises:
        UserError: no step, or a width that the heads cannot share.
    """

    def __init__(self, d_embedding: int, num_steps: int = 4, *, layers: Layers = Layers()) -> None:
        super().__init__()
        check_at_least(1, num_steps=num_steps)
        layers.check(d_embedding, num_steps)
        self.positions = layers.new_positions(d_embedding)
        self.dropout = Dropout(layers.dropout)
        self.layer = EncoderLayer(d_embedding, layers)
        self.layer_drop = LayerDrop(layers.layer_drop, num_steps)
        self.norm = layers.last_norm(d_embedding)
        self.num_steps = num_steps
        self.shape = MemoryShape(d_embedding, (1, d_embedding))
        initialise(self)

    def forward(self, x: Tensor, padding: Tensor) -> Memory:
        position = torch.arange(x.shape[1], device=x.device)
        rotation = self.positions.rotation(x, position)
        bias = padding_bias(padding, x.dtype)
        x = self.dropout(x)
        for signal, passing in zip(step_signals(x, self.num_steps), self.layer_drop(x), strict=True):
            x = pass_through(passing, self.layer(self.positions(x, position) + signal, bias, rotation), x)
        x = self.norm(x)
        return Memory(x, x, padding, masked_mean(x, padding))


class UniversalContext(NamedTuple):
    """Parts that are fixed for a whole target: the source, the same at each step, and the draws of ``LayerDrop``."""

    source: OfSentence
    passing: list[Tensor | None]


class UniversalDecoder(Decoder):
    """One layer of a Transformer's decoder, R times; before each, positions and the step are added.

    All steps read the same projection of the source. Carry: a ``Cache`` for each step, as long as the target so far,
    which is also the position.

    Args:
        d_embedding: D.
        memory: what the encoder hands over.
        num_steps: R.
        layers: what the layer is made of.

    Raises:
        UserError: no step, or a width that the heads cannot share.
    """

    def __init__(
        self,
        d_embedding: int,
        memory: MemoryShape,
        num_steps: int = 4,
        *,
        layers: Layers = Layers(),
    ) -> None:
        super().__init__()
        check_at_least(1, num_steps=num_steps)
        layers.check(d_embedding, num_steps)
        self.positions = layers.new_positions(d_embedding)
        self.dropout = Dropout(layers.dropout)
        self.layer = DecoderLayer(d_embedding, memory.d_states, layers)
        self.layer_drop = LayerDrop(layers.layer_drop, num_steps)
        self.norm = layers.last_norm(d_embedding)
        self.num_steps = num_steps
        self.d_out = d_embedding
        initialise(self)

    def start(self, memory: Memory) -> State:
        kv = self.layer.cross_attention.project(memory.states, memory.values)
        source = OfSentence(Source(kv, padding_bias(memory.padding, memory.states.dtype)))
        return State(UniversalContext(source, self.layer_drop(memory.states)), [Cache.begin(kv)] * self.num_steps)

    def forward(self, y: Tensor, state: State, need_weights: bool = False) -> DecoderOutput:
        context: UniversalContext = state.context
        done = state.carry[0].length
        position = torch.arange(done, done + y.shape[1], device=y.device)
        rotation = self.positions.rotation(y, position)
        y = self.dropout(y)
        carry, attention = [], []
        for signal, passing, past in zip(step_signals(y, self.num_steps), context.passing, state.carry, strict=True):
            signalled = self.positions(y, position) + signal
            z, past, weights = self.layer(signalled, past, context.source.parts, rotation, need_weights)
            y = pass_through(passing, z, y)
            carry.append(past)
            attention.append(weights)
        weights = torch.stack(attention, 1) if need_weights else None
        return DecoderOutput(self.norm(y), State(context, carry), weights)


class UniversalTransformer(Seq2SeqModule):
    """A Transformer recurrent in depth (Dehghani et al., 2019, arXiv:1807.03819), with a fixed number of steps.

    A step is H^t = layer(H^{t-1} + P^t), where P^t is the sum of the sinusoids of the position and of t. The paper
    counts positions from 1; here, as everywhere, they count from 0.

    The paper's adaptive halting (ACT) is left out. A later position may still attend to one that has halted, so
    that in a batch each position has to run all steps: it would save no time, and its ponder cost is a term of the
    loss that the contract has no place for.

    Card:
        year: 2019
        idea: one layer, applied again and again, refines all positions at once; depth costs no parameters.
        equation: `H^t = Layer(H^{t-1} + P^t)`, `P^t_i = sin(i) + sin(t)` and cos in pairs, as the Transformer's
        training: O(R (T^2 D + T D^2)), all positions at once
        decoding: O(R ((T + S) D + D^2)), a cache that grows with R T
        use: tasks that repeat one operation, and few parameters for much computation.
        paper: Dehghani et al., 2019, arXiv:1807.03819
        embeddings: D*(U+V) + V*(D+1)
        encoder: 4*D*(D+1) + 2*D*F+D+F + 6*D
        decoder: 8*D*(D+1) + 2*D*F+D+F + 8*D

    Args:
        src_vocab_size: symbols of the source vocabulary; the command line fills it in.
        tgt_vocab_size: symbols of the target vocabulary; null: one vocabulary for both sides.
        d_model: width of embeddings and states, a multiple of 2 * num_heads.
        num_encoder_steps: how often the encoder's layer is applied.
        num_decoder_steps: how often the decoder's layer is applied.
        tie_embeddings: what shares one matrix: "all" embeddings and the readout (the source's with a joint vocabulary
            alone), the "readout" and the target's, or "none".
        options: as of ``Layers``.

    Raises:
        UserError: d_model is no multiple of 2 * num_heads.
    """

    def __init__(
        self,
        src_vocab_size: int,
        tgt_vocab_size: int | None = None,
        *,
        d_model: int = 256,
        num_encoder_steps: int = 4,
        num_decoder_steps: int = 4,
        tie_embeddings: Tie = "all",
        **options: Any,
    ) -> None:
        check_at_least(1, num_encoder_steps=num_encoder_steps, num_decoder_steps=num_decoder_steps)
        layers = Layers(**options)
        encoder = UniversalEncoder(d_model, num_encoder_steps, layers=layers)
        decoder = UniversalDecoder(d_model, encoder.shape, num_decoder_steps, layers=layers)
        super().__init__(
            assemble(encoder, decoder, src_vocab_size, tgt_vocab_size, d_model, tie_embeddings, embedding_std=1.0)
        )
