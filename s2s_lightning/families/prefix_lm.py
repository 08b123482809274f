"""Decoder-only models: the source as a prefix read in both directions, and the language model without a source."""

import torch
from torch import Tensor

from s2s_lightning.families.merged import MergedContext, MergedDecoder, nothing_written
from s2s_lightning.families.modern import FFN, ModernLayers, Norm, NormAt, PositionKind
from s2s_lightning.model import Encoder, Memory, MemoryShape, State, Tie, assemble, masked_mean
from s2s_lightning.nn.attention import padding_bias
from s2s_lightning.training.module import Seq2SeqModule


class EmbeddedSource(Encoder):
    """Hands the embeddings over as they are; it has no parameters.

    Args:
        d_embedding: D.
    """

    def __init__(self, d_embedding: int) -> None:
        super().__init__()
        self.shape = MemoryShape(d_embedding, (1, d_embedding))

    def forward(self, x: Tensor, padding: Tensor) -> Memory:
        return Memory(x, x, padding, masked_mean(x, padding))


class PrefixDecoder(MergedDecoder):
    """One stack for source and target: the merged decoder, whose keys of the source come from its own layers.

    A source position reads the whole source and no target, so the source is read once, by ``start``. A target position
    reads the source and the target up to itself. Positions run on: the first of the target is the source's real length.

    The arguments are those of ``MergedDecoder``.
    """

    def start(self, memory: Memory) -> State:
        x = memory.states
        position = torch.arange(x.shape[1], device=x.device)
        rotation = self.positions.rotation(x, position)
        bias = padding_bias(memory.padding, x.dtype)
        x = self.dropout(self.positions(x, position))
        *layers, last = self.layers
        sources = []
        for layer in layers:
            x, source, _ = layer(x, rotation, bias)
            sources.append(source.kv)
        sources.append(last.keys_values(x, rotation))  # nobody reads what the last layer would make of the source
        first = (~memory.padding).sum(1, keepdim=True)
        return nothing_written(MergedContext(sources, bias, first))


class PrefixLM(Seq2SeqModule):
    """A decoder-only model that reads the source as a bidirectional prefix and is trained on the target alone.

    The "prefix LM" of Raffel et al. (2020, arXiv:1910.10683), of the layers of ``Modern``: the control, at equal
    parameters, for what a separate encoder gives.

    Card:
        year: 2020
        idea: no encoder; one stack reads the source in both directions and writes the target behind it.
        equation: `softmax(q [k_target; k_source]^T / sqrt(d)) [v_target; v_source]`
        training: O((S + T)^2 D + (S + T) D^2), all positions at once
        decoding: O((T + S) D + D^2), a cache that grows with T
        use: as the control for what an encoder gives; for one model of many tasks.
        paper: Raffel et al., 2020, arXiv:1910.10683
        embeddings: D*(U+V) + V*(D+1)
        encoder: 0
        decoder: R*(2*D*D + 2*D*D*G//H + 3*D*F + 2*D + 2*D//H) + D

    Args:
        src_vocab_size: symbols of the source vocabulary; the command line fills it in.
        tgt_vocab_size: symbols of the target vocabulary; null: one vocabulary for both sides.
        d_model: width of embeddings and states, a multiple of 2 * num_heads.
        num_heads: heads of queries.
        num_kv_heads: heads of keys and values, a divisor of num_heads; equal to it: multi-head attention.
        d_ff: inner width of the feed-forward layers; with a gate, 2/3 of a plain one's costs the same.
        num_layers: layers of the one stack.
        dropout: on embeddings and on what each attention or feed-forward layer adds.
        ffn: "swiglu" or "geglu" feed-forward layers with a gate, or "plain" ones with GELU.
        norm: "rms" or "layer" normalisation, without biases.
        norm_at: normalise what a layer reads ("input"), what it adds ("output"), or both.
        qk_norm: normalise queries and keys, head by head.
        positions: "rotary" queries and keys, "sinusoidal" vectors added to the embeddings, or "none".
        tie_embeddings: what shares one matrix: "all" embeddings and the readout (the source's with a joint vocabulary
            alone), the "readout" and the target's, or "none".

    Raises:
        UserError: d_model is no multiple of 2 * num_heads, or num_heads none of num_kv_heads.
    """

    def __init__(
        self,
        src_vocab_size: int,
        tgt_vocab_size: int | None = None,
        *,
        d_model: int = 256,
        num_heads: int = 4,
        num_kv_heads: int = 2,
        d_ff: int = 683,
        num_layers: int = 6,
        dropout: float = 0.1,
        ffn: FFN = "swiglu",
        norm: Norm = "rms",
        norm_at: NormAt = "input",
        qk_norm: bool = True,
        positions: PositionKind = "rotary",
        tie_embeddings: Tie = "all",
    ) -> None:
        layers = ModernLayers(
            num_heads=num_heads,
            num_kv_heads=num_kv_heads,
            d_ff=d_ff,
            dropout=dropout,
            ffn=ffn,
            norm=norm,
            norm_at=norm_at,
            qk_norm=qk_norm,
            positions=positions,
        )
        encoder = EmbeddedSource(d_model)
        decoder = PrefixDecoder(d_model, encoder.shape, num_layers, layers=layers)
        super().__init__(
            assemble(
                encoder,
                decoder,
                src_vocab_size=src_vocab_size,
                tgt_vocab_size=tgt_vocab_size,
                d_embedding=d_model,
                tie_embeddings=tie_embeddings,
                embedding_std=1.0,
            )
        )


class LM(PrefixLM):
    """A language model: ``PrefixLM`` on a corpus whose sources are empty, so that its prefix is always one EOS.

    Card:
        year: 2018
        idea: the decoder alone; it says how probable a text is, without a source.
        equation: `p(y) = prod p(y_t | y_<t)`
        training: O(T^2 D + T D^2), all positions at once
        decoding: O(T D + D^2), a cache that grows with T
        use: on text without translations; to help another model's search.
        paper: Liu et al., 2018, arXiv:1801.10198
        embeddings: D*U + V*(D+1)
        encoder: 0
        decoder: R*(2*D*D + 2*D*D*G//H + 3*D*F + 2*D + 2*D//H) + D
    """
