"""The contract: an encoder hands a memory to a decoder, whose output a readout turns into scores.

Shape letters: B batch, S source, T target, D width, E embedding, H heads, V vocabulary, L entries of the summary.
"""

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple, TypeVar

from torch import Tensor, nn

from s2s_lightning.errors import UserError, shown
from s2s_lightning.model.state import State
from s2s_lightning.nn.linear_cross_entropy import CrossEntropy
from s2s_lightning.nn.scan import single


class Memory(NamedTuple):
    """Output of an encoder, which a decoder reads.

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
    """Sizes of an encoder's memory, which a decoder needs before both are built.

    Attributes:
        d_states: D of the memory's states and values.
        summary: (L, D') of its summary.
    """

    d_states: int
    summary: tuple[int, int]


class DecoderOutput(NamedTuple):
    """Output of a decoder for a piece of target.

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
        """Return the output at some target positions; the state stays that after the last of all."""
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
    """Map hidden states to scores over the target vocabulary.

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
        """Return the source (B, S) that the readout reads: its own ids, or the ids to copy.

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


def masked_mean(states: Tensor, padding: Tensor) -> Tensor:
    """The mean over real positions: states (B, S, D), padding (B, S) -> (B, 1, D), a summary of one entry."""
    wide = single(states)
    real = (~padding).to(wide.dtype).unsqueeze(-1)
    return ((wide * real).sum(1, keepdim=True) / real.sum(1, keepdim=True)).to(states.dtype)
