"""Parts of a network with one fault each, as users write them, and the same parts without it."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from s2s_lightning.model import (
    Decoder,
    DecoderOutput,
    Encoder,
    Memory,
    MemoryShape,
    State,
    masked_mean,
)


class Mixing(Encoder):
    """A correct encoder: a gated mean over real positions beside each state."""

    def __init__(self, d_embedding: int) -> None:
        super().__init__()
        self.shape = MemoryShape(d_embedding, (1, d_embedding))
        self.mix = nn.Linear(2 * d_embedding, d_embedding)
        self.norm = nn.LayerNorm(d_embedding)

    def context(self, x: Tensor, padding: Tensor) -> Tensor:
        return masked_mean(x, padding).expand_as(x)

    def forward(self, x: Tensor, padding: Tensor) -> Memory:
        states = self.norm(x + self.mix(torch.cat([x, self.context(x, padding)], -1)).tanh())
        return Memory(states, states, padding, masked_mean(states, padding))


class FNet(Mixing):
    """Fourier mixing (Lee-Thorp et al., 2022) over all positions, padding too."""

    def context(self, x: Tensor, padding: Tensor) -> Tensor:
        return torch.fft.fft2(x.float() if x.dtype == torch.float16 else x).real


class AcrossRows(Mixing):
    """It subtracts the mean over the batch."""

    def context(self, x: Tensor, padding: Tensor) -> Tensor:
        return x - x.mean(0, keepdim=True)


class BatchNormed(Mixing):
    """It normalises over the batch."""

    def __init__(self, d_embedding: int) -> None:
        super().__init__(d_embedding)
        self.batch_norm = nn.BatchNorm1d(d_embedding)

    def context(self, x: Tensor, padding: Tensor) -> Tensor:
        return self.batch_norm(x.transpose(1, 2)).transpose(1, 2)


class OwnStatistics(Mixing):
    """It normalises over the batch while it trains, without a module of that name."""

    def context(self, x: Tensor, padding: Tensor) -> Tensor:
        return x - x.mean((0, 1)) if self.training else x


class DeadParameter(Mixing):
    """It has a layer that it never uses."""

    def __init__(self, d_embedding: int) -> None:
        super().__init__(d_embedding)
        self.unused = nn.Linear(d_embedding, d_embedding)


class ReturnsTensor(Mixing):
    """It returns its states alone."""

    def forward(self, x: Tensor, padding: Tensor) -> Memory:
        return super().forward(x, padding).states  # type: ignore[return-value]


class OneSummary(Mixing):
    """Its summary has no batch dimension."""

    def forward(self, x: Tensor, padding: Tensor) -> Memory:
        memory = super().forward(x, padding)
        return memory._replace(summary=memory.summary.mean(0))


class Carry(NamedTuple):
    """Sum of what was read (B, E), and how much that was (B,)."""

    total: Tensor
    count: Tensor


class Attending(Decoder):
    """A correct decoder: attention over the source by the mean of the target so far."""

    def __init__(self, d_embedding: int, memory: MemoryShape) -> None:
        super().__init__()
        self.d_out = d_embedding
        self.query = nn.Linear(d_embedding, memory.d_states)
        self.out = nn.Linear(d_embedding + memory.d_states, d_embedding)

    def start(self, memory: Memory) -> State:
        zeros = memory.states.new_zeros(len(memory.states), self.d_out)
        return State(memory, Carry(zeros, zeros[:, 0]))

    def past(self, y: Tensor, carry: Carry) -> tuple[Tensor, Carry]:
        """Mean (B, T, E) of the target up to each token, and what is carried on."""
        total = carry.total.unsqueeze(1) + y.cumsum(1)
        count = carry.count.unsqueeze(1) + torch.arange(1, y.shape[1] + 1, device=y.device)
        return total / count.unsqueeze(-1), Carry(total[:, -1], count[:, -1])

    def weigh(self, scores: Tensor, padding: Tensor) -> Tensor:
        """Weights (B, T, S) of scores."""
        return scores.masked_fill(padding.unsqueeze(1), -torch.inf).softmax(-1)

    def forward(self, y: Tensor, state: State, need_weights: bool = False) -> DecoderOutput:
        past, carry = self.past(y, state.carry)
        memory = state.context
        weights = self.weigh(self.query(past) @ memory.states.transpose(1, 2), memory.padding)
        hidden = self.out(torch.cat([past + y, weights @ memory.values], -1)).tanh()
        return DecoderOutput(hidden, State(memory, carry), weights[:, None, None] if need_weights else None)


class SeesFuture(Attending):
    """It takes the mean of the whole piece for each token."""

    def past(self, y: Tensor, carry: Carry) -> tuple[Tensor, Carry]:
        past, after = super().past(y, carry)
        return past + y.mean(1, keepdim=True), after


class ChangesState(Attending):
    """It adds to the state that it was given."""

    def past(self, y: Tensor, carry: Carry) -> tuple[Tensor, Carry]:
        past, after = super().past(y, carry)
        carry.total.add_(y.detach().sum(1))
        return past, after


class Forgets(Attending):
    """It begins anew at each call."""

    def past(self, y: Tensor, carry: Carry) -> tuple[Tensor, Carry]:
        return super().past(y, Carry(*(torch.zeros_like(x) for x in carry)))


class IgnoresMask(Attending):
    """It attends to padding."""

    def weigh(self, scores: Tensor, padding: Tensor) -> Tensor:
        return scores.softmax(-1)


class IgnoresReordering(Attending):
    """It keeps what changes where reordering does not look."""

    def start(self, memory: Memory) -> State:
        context, carry = super().start(memory)
        return State((context, carry), None)

    def forward(self, y: Tensor, state: State, need_weights: bool = False) -> DecoderOutput:
        output = super().forward(y, State(*state.context), need_weights)
        return output._replace(state=State(tuple(output.state), None))


class NoRows(Attending):
    """Its count has no row a sentence."""

    def start(self, memory: Memory) -> State:
        state = super().start(memory)
        return state._replace(carry=state.carry._replace(count=state.carry.count[:1].squeeze()))

    def past(self, y: Tensor, carry: Carry) -> tuple[Tensor, Carry]:
        return super().past(y, carry._replace(count=carry.count.expand(len(y))))


class ReadsNothing(Attending):
    """It never looks at the source."""

    def weigh(self, scores: Tensor, padding: Tensor) -> Tensor:
        return 0 * super().weigh(scores, padding)


class ReturnsPair(Attending):
    """It returns a pair, as torch's recurrent layers do."""

    def forward(self, y: Tensor, state: State, need_weights: bool = False) -> DecoderOutput:
        output = super().forward(y, state)
        return output.hidden, output.state  # type: ignore[return-value]


class Grows(Attending):
    """It keeps all that it has read."""

    def start(self, memory: Memory) -> State:
        return State(memory, memory.states.new_zeros(len(memory.states), 0, self.d_out))

    def past(self, y: Tensor, carry: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        read = torch.cat([carry, y], 1)
        count = torch.arange(1, read.shape[1] + 1, device=y.device)
        means = read.cumsum(1) / count.unsqueeze(-1)
        return means[:, carry.shape[1] :], read


class NoShape(Encoder):
    """Its constructor does not say what its memory looks like."""

    def __init__(self, d_embedding: int) -> None:
        super().__init__()

    def forward(self, x: Tensor, padding: Tensor) -> Memory:
        return Memory(x, x, padding, masked_mean(x, padding))


class NoArguments(Mixing):
    """Its constructor does not begin with d_embedding."""

    def __init__(self) -> None:
        super().__init__(8)


class Misspelt(Mixing):
    """Its constructor has an error of its own."""

    def __init__(self, d_embedding: int) -> None:
        super().__init__(d_embeding)  # type: ignore[name-defined]  # noqa: F821


class Abstract(Decoder):
    """It lacks a method."""

    def __init__(self, d_embedding: int, memory: MemoryShape) -> None:
        super().__init__()
        self.d_out = d_embedding

    def forward(self, y: Tensor, state: State, need_weights: bool = False) -> DecoderOutput:
        raise NotImplementedError
