"""The contract: what an encoder hands over, what a decoder carries from step to step, and the model of both.

Shape letters: B batch, S source, T target, D width, E embedding, H heads, V vocabulary, L entries of the summary.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn

from s2s_lightning import PAD
from s2s_lightning.errors import UserError, check_at_least, shown
from s2s_lightning.model import Batch
from s2s_lightning.nn.cache import Cache
from s2s_lightning.nn.linear_cross_entropy import CrossEntropy, linear_cross_entropy
from s2s_lightning.nn.scan import single
from s2s_lightning.nn.token_dropout import TokenDropout

Tree = Any
"""A tensor, None, or a tuple, list or dict of trees; the batch is dimension 0 of each tensor."""


class Memory(NamedTuple):
    """What an encoder hands to a decoder.

    Attributes:
        states: (B, S, D), the keys of attention.
        values: (B, S, D), what attention averages: the states, unless the encoder says otherwise.
        padding: (B, S), True at padding.
        summary: (B, L, D'), the source as L vectors: the last h of each layer (then the last c of each, for LSTMs), or
            the mean of the real states as one. A decoder with a fixed context reads nothing else.
    """

    states: Tensor
    values: Tensor
    padding: Tensor
    summary: Tensor


class MemoryShape(NamedTuple):
    """What a decoder must know of an encoder before both are built.

    Attributes:
        d_states: D of the memory's states and values.
        summary: (L, D') of its summary.
    """

    d_states: int
    summary: tuple[int, int]


class State(NamedTuple):
    """What a decoder needs to go on. A call never changes the state it was given, so a state can be branched.

    Attributes:
        context: fixed from ``start`` on: projected keys and values, masks; what may be read by several hypotheses of a
            sentence at once stands in ``OfSentence``.
        carry: replaced by each call: hidden states, key/value cache, last inputs, position as a (B,) tensor.
    """

    context: Tree
    carry: Tree


class OfSentence(NamedTuple):
    """A part of a context with one row a sentence, also where each sentence has several rows of carry, its hypotheses.

    Who reads it takes the rows of carry of one sentence, which stand in sequence, for positions of one target:
    (B*K, T, D) is viewed as (B, K*T, D), and keys are read once a sentence and not once a hypothesis.

    Attributes:
        parts: the tree.
    """

    parts: Tree


class DecoderOutput(NamedTuple):
    """What a decoder says of a piece of target.

    Attributes:
        hidden: (B, T, D), what the readout reads.
        state: to go on after this piece.
        attention: (B, layers, heads, T, S) over source positions, 0 on padding; None when not asked for, or when the
            architecture has none.
        gate: (B, T), the logit of the probability to generate and not to copy, of decoders made for copying.
    """

    hidden: Tensor
    state: State
    attention: Tensor | None = None
    gate: Tensor | None = None

    def span(self, positions: slice) -> "DecoderOutput":
        """What was said at some target positions; the state stays that after the last of all."""
        attention = None if self.attention is None else self.attention[..., positions, :]
        gate = None if self.gate is None else self.gate[:, positions]
        return DecoderOutput(self.hidden[:, positions], self.state, attention, gate)

    def split(self, size: int) -> list["DecoderOutput"]:
        """Spans of ``size`` positions, the last as long as what remains."""
        return [self.span(slice(start, start + size)) for start in range(0, self.hidden.shape[1], size)]


class Encoder(nn.Module, ABC):
    """Reads the embedded source. ``shape`` says what its memory looks like.

    A constructor begins with ``d_embedding``, E of what it reads; ``Hybrid`` rests on that.
    """

    shape: MemoryShape
    contract: ClassVar = "__init__(self, d_embedding, ...), which calls super().__init__() and sets self.shape"

    @abstractmethod
    def forward(self, x: Tensor, padding: Tensor) -> Memory:
        """X (B, S, E), padding (B, S), True at padding; what stands at padding must not reach real positions."""


class Decoder(nn.Module, ABC):
    """Writes the target. ``d_out`` is D of its hidden states.

    A constructor begins with ``d_embedding``, E of what it reads, and the ``MemoryShape`` of its encoder.

    The law: any split of the target into pieces gives the hidden states of one call. Teacher forcing is one call,
    greedy and beam search are calls with T = 1, a forced prefix is T = k.

    ``attention_sums_to_one`` is False for a decoder whose weights of source positions may sum to less.
    """

    d_out: int
    attention_sums_to_one = True
    contract: ClassVar = "__init__(self, d_embedding, memory, ...), which calls super().__init__() and sets self.d_out"

    @abstractmethod
    def start(self, memory: Memory) -> State:
        """The state before the first target token."""

    @abstractmethod
    def forward(self, y: Tensor, state: State, need_weights: bool = False) -> DecoderOutput:
        """Y (B, T, E) is an embedded piece of target of any length T >= 1."""

    def drop_gate(self) -> None:
        """The readout does not copy: what makes ``DecoderOutput.gate`` would have no gradient, which DDP waits for."""


T = TypeVar("T")


def returned(part: nn.Module, value: object, kind: type[T], method: str = "forward") -> T:
    """Return what an encoder or a decoder returned.

    Raises:
        UserError: it is of another type than the contract says.
    """
    if isinstance(value, kind):
        return value
    form = f"{kind.__name__}({', '.join(getattr(kind, '_fields', ()))})"
    article = "an" if type(value).__name__[0] in "aeiouAEIOU" else "a"
    what = f"a tuple of {len(value)}" if type(value) is tuple else f"{article} {type(value).__name__}"
    call = "" if method == "forward" else f".{method}"
    raise UserError(f"{_role(part)}{call} returned {what}; return {form}{_place(part, method)}")


def declared(part: nn.Module, name: str, kind: type, form: str) -> None:
    """Raise UserError for an encoder or a decoder whose constructor does not set what others must know of it."""
    value = getattr(part, name, None)
    if not isinstance(value, kind):
        problem = "is not set" if value is None else f"is {value!r}"
        raise UserError(f"{_role(part)}: {name} {problem}; set self.{name} = {form}{_place(part, '__init__')}")


def _role(part: nn.Module) -> str:
    return f"{'Encoder' if isinstance(part, Encoder) else 'Decoder'} {type(part).__name__}"


def _place(part: nn.Module, method: str) -> str:
    code = getattr(getattr(type(part), method), "__code__", None)
    return f" ({shown(code.co_filename)}, line {code.co_firstlineno})" if code else ""


class Readout(nn.Module, ABC):
    """From hidden states to scores over the target vocabulary.

    ``normalised`` says that the scores are log-probabilities already; ``needs_attention`` that the decoder must return
    its attention: the readout copies, and id V + i is the source's word at position i. ``vocabulary_rows`` names the
    parameters with a row for each target symbol, which ``--init_from`` carries to another vocabulary.
    """

    normalised = False
    needs_attention = False
    vocabulary_rows: ClassVar[tuple[str, ...]] = ("weight", "bias")

    @abstractmethod
    def forward(self, output: DecoderOutput, src: Tensor) -> Tensor:
        """Scores (B, T, V), or (B, T, V + S) of a readout that copies; src (B, S) is what ``source`` made."""

    @abstractmethod
    def cross_entropy(self, output: DecoderOutput, src: Tensor, target: Tensor, label_smoothing: float) -> CrossEntropy:
        """Sums over the real tokens of target (B, T), PAD ignored, without making all the scores at once."""

    def source(self, src: Tensor, src_copy: Tensor | None) -> Tensor:
        """What the readout reads as the source (B, S): its own ids, or what is copied.

        Raises:
            UserError: there are ids to copy, but the readout does not.
        """
        if src_copy is not None:
            raise UserError(
                "data.copy=true prepares words to be copied, but this model does not copy: "
                "leave it out, or take a model that does, such as Pointer"
            )
        return src

    def known(self, ids: Tensor) -> Tensor:
        """Target ids as the embedding has them: a copied word is UNK there."""
        return ids


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
    *,
    src_vocab_size: int,
    tgt_vocab_size: int | None,
    d_embedding: int,
    tie_embeddings: Tie,
    embedding_std: float | None = None,
    readout: Callable[[Tensor], Readout] = LinearReadout,
) -> Seq2Seq:
    """Put embeddings and a readout around an encoder and a decoder.

    Args:
        tgt_vocab_size: None with a joint vocabulary, which then serves both sides.
        d_embedding: E of both sides; it must equal the decoder's ``d_out`` when the readout is tied.
        embedding_std: of what the embeddings give at first, E^-0.5 by default. A matrix that the readout shares begins
            with E^-0.5, as logits need, and what it gives is scaled (by E^0.5 in Vaswani et al., 2017, 3.4).
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


Change = Callable[[Tensor], Tensor]


def tree_map(change: Callable[[Any], Any], tree: Tree, leaves: tuple[type, ...] = (Tensor,)) -> Tree:
    """Change each tensor of a nested state, or what else counts as a leaf; None stays None."""
    if tree is None:
        return None
    if isinstance(tree, leaves):
        return change(tree)
    if isinstance(tree, dict):
        return {key: tree_map(change, value, leaves) for key, value in tree.items()}
    parts = [tree_map(change, part, leaves) for part in tree]
    return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)


def _move(move: Change, tree: Tree, of_sentence: Change) -> Tree:
    """Move the rows of each tensor, those of a sentence by a function of their own; of a cache the index alone."""

    def moved(leaf: Any) -> Any:
        if isinstance(leaf, OfSentence):
            return tree_map(of_sentence, leaf)
        return leaf._replace(row=move(leaf.row)) if isinstance(leaf, Cache) else move(leaf)

    return tree_map(moved, tree, (Tensor, OfSentence, Cache))


def repeat(state: State, k: int) -> State:
    """Each row k times in sequence: (B, ...) -> (B*k, ...), for k hypotheses a sentence."""
    repeated = partial(torch.repeat_interleave, repeats=k, dim=0)
    return State(*(_move(repeated, part, repeated) for part in state))


def select(state: State, index: Tensor) -> State:
    """Keep the rows ``index``, context included: sentences leave the batch."""
    return branch(state, index, index)


def branch(state: State, index: Tensor, sentences: Tensor) -> State:
    """Go on with the rows ``index`` of the carry, equally many in sequence for each of the ``sentences``."""
    kept, of_sentence = (partial(torch.index_select, dim=0, index=rows) for rows in (index, sentences))
    return State(*(_move(kept, part, of_sentence) for part in state))


def reorder(state: State, index: Tensor) -> State:
    """Row i goes on from row ``index[i]`` of the same sentence: the carry moves, the context stays."""
    moved = partial(torch.index_select, dim=0, index=index)
    return State(state.context, _move(moved, state.carry, moved))


def masked_mean(states: Tensor, padding: Tensor) -> Tensor:
    """The mean over real positions: states (B, S, D), padding (B, S) -> (B, 1, D), a summary of one entry."""
    wide = single(states)
    real = (~padding).to(wide.dtype).unsqueeze(-1)
    return ((wide * real).sum(1, keepdim=True) / real.sum(1, keepdim=True)).to(states.dtype)
