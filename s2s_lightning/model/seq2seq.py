"""The whole network: embeddings, encoder, decoder and readout, as searches, objectives and pictures drive it.

Shape letters: B batch, S source, T target, D width, E embedding, V vocabulary.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from s2s_lightning import PAD
from s2s_lightning.errors import UserError, check_at_least
from s2s_lightning.model.batch import Batch
from s2s_lightning.model.contract import Decoder, DecoderOutput, Encoder, Memory, Readout, declared, returned
from s2s_lightning.model.state import State
from s2s_lightning.nn.linear_cross_entropy import CrossEntropy, linear_cross_entropy
from s2s_lightning.nn.token_dropout import TokenDropout


class LinearReadout(Readout):
    """logits = W h + b. W may be the target embedding (Press & Wolf, 2017, arXiv:1608.05859)."""

    weight: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = weight  # (V, D)
        self.bias = nn.Parameter(torch.zeros(len(weight)))

    def forward(self, output: DecoderOutput, src: Tensor) -> Tensor:
        return nn.functional.linear(output.hidden, self.weight, self.bias)

    def cross_entropy(self, output: DecoderOutput, src: Tensor, target: Tensor, label_smoothing: float) -> CrossEntropy:
        return linear_cross_entropy(output.hidden, self.weight, self.bias, target, label_smoothing)


class Step(NamedTuple):
    """One call of the model by a search.

    Attributes:
        log_probs: (B, T, V); V counts the source's positions too where the readout copies.
        state: to go on.
        attention: as in ``DecoderOutput``, if asked for.
        bonus: (B, T, V), at most 0: what is added to log_probs in the ranking alone; a language model's share, say.
    """

    log_probs: Tensor
    state: State
    attention: Tensor | None
    bonus: Tensor | None = None

    def ranked(self) -> Tensor:
        """(B, T, V), what a search ranks by before its own rules."""
        return self.log_probs if self.bonus is None else self.log_probs + self.bonus


class Seq2Seq(nn.Module):
    """The whole network: embeddings, encoder, decoder, readout. The only part that knows the vocabularies.

    ``src_dropout`` and ``tgt_dropout`` drop whole tokens on the way in; they drop none unless they are told to.
    """

    def __init__(
        self,
        src_embedding: nn.Module,
        encoder: Encoder,
        tgt_embedding: nn.Module,
        decoder: Decoder,
        readout: Readout,
    ) -> None:
        super().__init__()
        self.src_embedding = src_embedding
        self.encoder = encoder
        self.tgt_embedding = tgt_embedding
        self.decoder = decoder
        self.readout = readout
        self.src_dropout = TokenDropout()
        self.tgt_dropout = TokenDropout()

    @property
    def tgt_vocab_size(self) -> int:
        """V of the target side."""
        return cast(nn.Embedding, self.tgt_embedding).num_embeddings

    def vocabulary_rows(self) -> dict[str, Literal["src", "tgt"]]:
        """Name each parameter with a row for each symbol -> the vocabulary of the rows."""
        embeddings: dict[str, Literal["src", "tgt"]] = {"src_embedding": "src", "tgt_embedding": "tgt"}
        names = {
            ".".join(filter(None, (part, name, "weight"))): side
            for part, side in embeddings.items()
            for name, module in self.get_submodule(part).named_modules()
            if isinstance(module, nn.Embedding)
        }
        of_readout = [name for name in self.readout.vocabulary_rows if hasattr(self.readout, name)]
        return {**names, **{f"readout.{name}": "tgt" for name in of_readout}}

    def start(self, src: Tensor, src_padding: Tensor, src_copy: Tensor | None = None) -> State:
        """Read the source: src, src_padding and src_copy (B, S) as in ``Batch``."""
        memory = returned(self.encoder, self.encoder(self.src_dropout(src, self.src_embedding), src_padding), Memory)
        state = returned(self.decoder, self.decoder.start(memory), State, "start")
        return State((state.context, self.readout.source(src, src_copy)), state.carry)

    def forward(self, tgt_in: Tensor, state: State, need_weights: bool = False) -> DecoderOutput:
        """The decoder on ids: tgt_in (B, T), any piece of the target."""
        context, src = state.context
        need_weights = need_weights or self.readout.needs_attention
        y = self.tgt_dropout(self.readout.known(tgt_in), self.tgt_embedding)
        output = returned(self.decoder, self.decoder(y, State(context, state.carry), need_weights), DecoderOutput)
        return output._replace(state=State((output.state.context, src), output.state.carry))

    def teacher_force(self, batch: Batch, need_weights: bool = False) -> DecoderOutput:
        """The whole reference in one call."""
        state = self.start(batch.src, batch.src_padding, batch.src_copy)
        output: DecoderOutput = self(batch.tgt_in, state, need_weights)
        return output

    def scores(self, output: DecoderOutput) -> Tensor:
        """(B, T, V) of the readout, as it gives them."""
        scores: Tensor = self.readout(output, output.state.context[1])
        return scores

    def cross_entropy(self, output: DecoderOutput, target: Tensor, label_smoothing: float) -> CrossEntropy:
        """Sums over the real tokens of target (B, T)."""
        return self.readout.cross_entropy(output, output.state.context[1], target, label_smoothing)

    def step(self, tokens: Tensor, state: State, need_weights: bool = False) -> Step:
        """Log-probabilities (B, T, V) of what follows each of tokens (B, T), in float32 at least."""
        output = self(tokens, state, need_weights)
        return Step(self.log_probs(output), output.state, output.attention)

    def log_probs(self, output: DecoderOutput) -> Tensor:
        """(B, T, V) from what the decoder said."""
        scores = self.scores(output)
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        return scores if self.readout.normalised else scores.log_softmax(-1)


class TokenEmbedding(nn.Embedding):
    """Embedding with N(0, std^2) entries, PAD zero, multiplied by ``scale``."""

    def __init__(self, vocab_size: int, d_embedding: int, *, std: float, scale: float = 1.0) -> None:
        super().__init__(vocab_size, d_embedding, padding_idx=PAD)
        nn.init.normal_(self.weight, std=std)
        with torch.no_grad():
            self.weight[PAD].zero_()
        self.scale = scale

    def forward(self, ids: Tensor) -> Tensor:
        x = super().forward(ids)
        return x if self.scale == 1.0 else x * self.scale


Tie = Literal["all", "readout", "none"]
"""What shares one matrix: "all" (the readout, the target embedding and, with a joint vocabulary, the source embedding),
"readout" (readout and target embedding), or nothing."""


def assemble(
    encoder: Encoder,
    decoder: Decoder,
    src_vocab_size: int,
    tgt_vocab_size: int | None,
    d_embedding: int,
    tie_embeddings: Tie,
    *,
    embedding_std: float | None = None,
    readout: Callable[[Tensor], Readout] = LinearReadout,
) -> Seq2Seq:
    """Put embeddings and a readout around an encoder and a decoder.

    Args:
        tgt_vocab_size: None with a joint vocabulary, which then serves both sides.
        d_embedding: E of both sides; it must equal the decoder's ``d_out`` when the readout is tied.
        embedding_std: of what the embeddings give at first, E^-0.5 by default. A matrix that the readout shares begins
            with E^-0.5, as logits need, and what it gives is scaled (by E^0.5 in Vaswani et al., 2017, 3.4).
        tie_embeddings: what shares one matrix.
        readout: of the matrix (V, D) that makes logits.

    Raises:
        UserError: a tied readout whose width is not that of the embedding, or an embedding_std that is not above 0.
    """
    check_at_least(1, d_embedding=d_embedding)
    declared(decoder, "d_out", int, "D of its hidden states")
    if tie_embeddings != "none" and d_embedding != decoder.d_out:
        raise UserError(
            f"tie_embeddings={tie_embeddings} needs an embedding as wide as the decoder's output, "
            f"but {d_embedding} != {decoder.d_out}: make them equal or set tie_embeddings to none"
        )
    if embedding_std is not None and not embedding_std > 0:
        raise UserError(f"embedding_std={embedding_std}: it must be above 0, or null for d_embedding^-0.5")
    unit = d_embedding**-0.5
    std = unit if embedding_std is None else embedding_std
    free = partial(TokenEmbedding, d_embedding=d_embedding, std=std)
    shared = partial(TokenEmbedding, d_embedding=d_embedding, std=unit, scale=std / unit)
    tgt = (free if tie_embeddings == "none" else shared)(tgt_vocab_size or src_vocab_size)
    joint = tgt_vocab_size is None and tie_embeddings == "all"
    src = tgt if joint else free(src_vocab_size)
    own = nn.Parameter(torch.randn(tgt.num_embeddings, decoder.d_out) * decoder.d_out**-0.5)
    reads = readout(own if tie_embeddings == "none" else tgt.weight)
    if not reads.needs_attention:
        decoder.drop_gate()
    return Seq2Seq(src, encoder, tgt, decoder, reads)
