"""An encoder of one family under a decoder of another."""

from collections.abc import Callable

from s2s_lightning.errors import check_at_least
from s2s_lightning.model import Decoder, Encoder, MemoryShape, Tie, assemble, declared
from s2s_lightning.training.module import Seq2SeqModule


class Hybrid(Seq2SeqModule):
    """Any encoder and any decoder, by class path: an LSTM that attends to a Transformer's states, say.

    Each reads embeddings of ``d_embedding``; the decoder learns what it must know of the encoder from its ``shape``.

    Card:
        year: 2018
        idea: the encoder of one family under the decoder of another.
        equation: `Decoder(Encoder(x).shape)`
        training: that of its parts
        decoding: that of its decoder
        use: to tell what an encoder contributes and what a decoder.
        paper: Chen et al., 2018, arXiv:1804.09849
        embeddings: E*(U+V) + V*(256+1)
        encoder: 3*(4*E*(E+1) + 2*E*512+E+512 + 4*E) + 2*E
        decoder: 4*256*(E+2*256+2) + 512*(E+1) + 2*256*E + 256*256

    Args:
        src_vocab_size: symbols of the source vocabulary; the command line fills it in.
        tgt_vocab_size: symbols of the target vocabulary; null: one vocabulary for both sides.
        encoder: class path and settings of the encoder, its d_embedding left out.
        decoder: class path and settings of the decoder, its d_embedding and memory left out.
        d_embedding: width of the embeddings of both sides.
        embedding_std: standard deviation of what the embeddings give at first; by default d_embedding^-0.5, which suits
            recurrent encoders; Transformers begin with 1.
        tie_embeddings: what shares one matrix: "all" embeddings and the readout (the source's with a joint vocabulary
            alone), the "readout" and the target's, or "none"; the first two need a decoder whose output is as wide as
            the embeddings.
    """

    def __init__(
        self,
        src_vocab_size: int,
        tgt_vocab_size: int | None = None,
        *,
        encoder: Callable[[int], Encoder],
        decoder: Callable[[int, MemoryShape], Decoder],
        d_embedding: int = 256,
        embedding_std: float | None = None,
        tie_embeddings: Tie = "none",
    ) -> None:
        check_at_least(1, d_embedding=d_embedding)
        built = encoder(d_embedding)
        declared(built, "shape", MemoryShape, "MemoryShape(d_states, (L, D'))")
        super().__init__(
            assemble(
                built,
                decoder(d_embedding, built.shape),
                src_vocab_size,
                tgt_vocab_size,
                d_embedding,
                tie_embeddings,
                embedding_std=embedding_std,
            )
        )
