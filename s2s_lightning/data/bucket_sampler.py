"""Batches of pairs of similar length, up to a budget of padded tokens, and their order.

All of it is a pure function of (lengths, seed, epoch), so that every rank computes the same plan and takes its share.
Lengths count EOS. N pairs, M batches.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from torch.utils.data import DistributedSampler

from s2s_lightning.data.position import Position
from s2s_lightning.data.ragged import IntArray
from s2s_lightning.errors import UserError

WINDOW = 2**18
"""Pairs that are sorted by length together; memory for sorting is bounded by it."""

REDRAWS = 100
"""Draws of an epoch without buckets until one has few enough batches."""


class BatchIndex(NamedTuple):
    """One batch, before it is gathered.

    Attributes:
        indices: (B,), rows of the split.
        divisor: number that the loss of the effective batch, over all ranks and accumulated steps, is divided by: its
            real target tokens, or their mean over the effective batches of an epoch. It is infinite for a batch that is
            repeated only to give every rank as many, so that it weighs nothing.
        epoch: in which it is read.
    """

    indices: IntArray
    divisor: float
    epoch: int = 0


class Lengths(NamedTuple):
    """Tokens of both sides of each pair, EOS included: two (N,) arrays."""

    src: IntArray
    tgt: IntArray

    def longest(self, rows: IntArray) -> IntArray:
        """Return the longer side of each row, which fills the budget."""
        return np.maximum(self.src[rows], self.tgt[rows])


class Budget(NamedTuple):
    """Size of a batch.

    Attributes:
        max_tokens: rows times the longest sentence of either side, padding included.
        batch_size: sentences; None leaves it to ``max_tokens``, otherwise it alone decides.
    """

    max_tokens: int
    batch_size: int | None = None

    def fill(self, longest: IntArray) -> IntArray:
        """Cut pairs of lengths (N,), as they come, into batches: the bounds (M + 1,).

        A pair that alone is over the budget makes a batch of its own.
        """
        if self.batch_size is not None:
            return np.append(np.arange(0, len(longest), self.batch_size), len(longest))
        bounds = [0]
        while bounds[-1] < len(longest):
            bounds.append(bounds[-1] + self.rows(longest[bounds[-1] :]))
        return np.array(bounds)

    def rows(self, longest: IntArray) -> int:
        """Return how many of the first pairs of lengths (N,) make a batch."""
        widest = np.maximum.accumulate(longest[: max(1, self.max_tokens // int(longest[0]))])
        fits = widest * np.arange(1, len(widest) + 1) <= self.max_tokens
        return max(1, int(np.count_nonzero(fits)))

    def spare(self, count: int) -> int:
        """Return how many batches of ``count`` an epoch may have more than another."""
        return count // 100 if self.batch_size is None else 0


class Plan(NamedTuple):
    """Batches as pieces of one list of rows: batch i is ``order[bounds[i]:bounds[i + 1]]``."""

    order: IntArray
    bounds: IntArray

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def batch(self, i: int) -> IntArray:
        return self.order[self.bounds[i] : self.bounds[i + 1]]

    def total(self, lengths: IntArray) -> IntArray:
        """Real tokens of each batch (M,)."""
        # summed in their own type: any other makes numpy copy all N, and a batch's sum is small
        sums = np.add.reduceat(lengths[self.order], self.bounds[:-1], dtype=lengths.dtype)
        return sums.astype(np.int64)

    def widest(self, lengths: IntArray) -> IntArray:
        """The longest row of each batch (M,)."""
        return np.maximum.reduceat(lengths[self.order], self.bounds[:-1])

    def padding(self, lengths: IntArray) -> float:
        """The fraction of one side's positions that is padding."""
        positions = self.widest(lengths) * np.diff(self.bounds)
        return 1.0 - float(self.total(lengths).sum()) / float(positions.sum())

    def split(self, count: int) -> "Plan":
        """Halve the batches of most rows until there are ``count``, or until each batch is one row."""
        bounds = self.bounds
        while (missing := count - (len(bounds) - 1)) > 0:
            rows = np.diff(bounds)
            largest = np.argsort(-rows, kind="stable")[:missing]
            largest = largest[rows[largest] > 1]
            if not len(largest):
                break
            bounds = np.sort(np.append(bounds, bounds[largest] + rows[largest] // 2))
        return Plan(self.order, bounds)


class RankSampler(DistributedSampler[BatchIndex]):
    """A sampler that yields the batches of its own rank.

    Lightning leaves a ``DistributedSampler`` alone; by default it deals the batches of any other out once more.
    """

    def __init__(self, rank: int, world_size: int) -> None:
        self.rank = rank
        self.world_size = world_size

    def set_epoch(self, epoch: int) -> None:
        """Nothing depends on the epoch here."""


Normaliser = Literal["tokens", "constant"]
"""Divisor of an effective batch: its own target tokens, or their mean over the epoch."""


class BucketSampler(RankSampler):
    """Training batches: shuffled pairs, sorted by length, cut to the budget, dealt to the ranks in random order.

    Pairs of equal lengths stand in random order, and the first cut is at a random place, which moves all others: so
    batches differ from epoch to epoch. Source lengths go up and down in turns, from one target length to the next, so
    that a batch over the seam of two is narrow on both sides; so do windows of very large corpora.

    Each epoch has as many batches on each rank: Lightning asks for their number once. A draw that has fewer halves
    some; one that has more, which is rare, gives way to the draw of epoch 0, or without buckets to another
    draw of the same epoch.

    Args:
        lengths: of all pairs of the split.
        rows: (N,), the pairs to visit.
        budget: the size of a batch.
        seed: of all draws, with the epoch.
        rank: of this process.
        world_size: processes that share an epoch.
        accumulate: batches of each rank in one optimizer step, or a function of the epoch that returns them.
        start: where the epoch that it names begins, of which a resumed run has seen the first batches.
        limit: where an epoch is cut short, in batches of each rank (int) or as a fraction (float), as Lightning's
            ``limit_train_batches``; it ends a window of accumulation.
        normaliser: "tokens" divides the loss of an effective batch by its target tokens, "constant" by the mean of that
            number over the effective batches of an epoch.
        bucketing: False leaves the shuffled pairs as they come, unsorted.
    """

    def __init__(
        self,
        lengths: Lengths,
        rows: IntArray,
        budget: Budget,
        *,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        accumulate: int | Callable[[int], int] = 1,
        limit: int | float = 1.0,
        start: Position = Position(),  # noqa: B008
        normaliser: Normaliser = "tokens",
        bucketing: bool = True,
    ) -> None:
        super().__init__(rank, world_size)
        self.lengths = lengths
        self.rows = rows
        self.budget = budget
        self.seed = seed
        self._accumulate = accumulate
        self.limit = limit
        self.normaliser = normaliser
        self.bucketing = bucketing
        self.epoch = 0
        first = len(self._draw(0))
        self._batches = first + self._spare(first)
        self._steps = self._steps_of(world_size)
        self.begin_at(start)

    def begin_at(self, start: Position) -> None:
        """Set where the next epoch begins, and which it is; workers may ask before Lightning says it."""
        self.start = start
        self.set_epoch(start.epoch)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch that is drawn next; Lightning calls it at the start of each epoch."""
        self.epoch = epoch

    @property
    def accumulate(self) -> int:
        """Batches of each rank in one optimizer step of this epoch."""
        return self._accumulate(self.epoch) if callable(self._accumulate) else self._accumulate

    def check_window(self, accumulate: int, world_size: int, limit: int | float) -> None:
        """Raise UserError where the trainer does not make the optimizer steps that the divisors were counted for."""
        pairs: list[tuple[str, float, float]]
        pairs = [("accumulate_grad_batches", self.accumulate, accumulate), ("ranks", self.world_size, world_size)]
        if max(accumulate, self.accumulate) > 1:
            pairs.append(("limit_train_batches", self.limit, limit))
        for name, counted, asked in pairs:
            if asked != counted:
                raise UserError(
                    f"the batches were counted for {name}={counted}, but the trainer has {asked}, which would scale "
                    "the gradients wrongly: give Trainer.fit the data as datamodule=, and change the accumulation "
                    "within a run by Lightning's GradientAccumulationScheduler alone"
                )

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[BatchIndex]:
        resumed = self.epoch == self.start.epoch
        plan, steps = self._layout(self.world_size, self.start.before if resumed else ())
        first = self.start.batches if resumed else 0
        for slot, divisor in zip(steps[first:, self.rank], self._divisors(plan, steps)[first:], strict=True):
            repeated = slot >= len(plan)
            yield BatchIndex(plan.batch(slot % len(plan)), math.inf if repeated else float(divisor), self.epoch)

    def plan(self, epoch: int) -> Plan:
        """The batches of an epoch over all ranks, in order of length."""
        return self._plan(epoch, self.world_size)

    def _plan(self, epoch: int, ranks: int) -> Plan:
        count = self._steps_of(ranks) * ranks
        plan = self._draw(epoch)
        return (plan if len(plan) <= count else self._smaller(count)).split(count)

    def _steps_of(self, ranks: int) -> int:
        """Batches of each of them in an epoch."""
        return math.ceil(self._batches / ranks)

    def moved(self, position: Position) -> Position:
        """The same place in an epoch for the ranks that there are now."""
        if position.ranks == self.world_size:
            return position
        if not (position.batches or position.before):
            return Position(position.epoch, 0, self.world_size)
        self.set_epoch(position.epoch)
        before = (*position.before, (position.ranks, position.batches))
        plan, steps = self._layout(self.world_size, before)
        left = np.flatnonzero((steps < len(plan)).any(1))
        first = int(left[0]) // self.accumulate * self.accumulate if len(left) else self._steps
        return Position(position.epoch, first, self.world_size, before)

    def _layout(self, ranks: int, before: tuple[tuple[int, int], ...]) -> tuple[Plan, IntArray]:
        """The plan of this epoch, and its slots (steps, ranks).

        Where the ranks were others earlier in the epoch, what these have left stands at the end, in the same order. The
        steps before, and what is missing to a whole one, are repetitions that weigh nothing.
        """
        if not before:
            plan = self._plan(self.epoch, ranks)
            return plan, self._deal(plan, ranks)
        *earlier, (others, done) = before
        plan, steps = self._layout(others, tuple(earlier))
        left = steps[done:].ravel()
        left = left[left < len(plan)]
        slots = np.full(self._steps_of(ranks) * ranks, len(plan))
        first = len(slots) - math.ceil(len(left) / ranks) * ranks
        slots[first : first + len(left)] = left
        return plan, slots.reshape(-1, ranks)

    @property
    def limited(self) -> bool:
        """True if an epoch is cut short."""
        return self.limit != 1.0 and self.limit != self._steps

    def _spare(self, count: int) -> int:
        """Return how many batches of ``count`` another epoch may have more."""
        return self.budget.spare(count)

    def _smaller(self, count: int) -> Plan:
        """Return a plan of at most ``count`` batches."""
        if self.bucketing:
            return self._draw(0)
        draws = (self._draw(self.epoch, attempt) for attempt in range(1, REDRAWS))
        return next((plan for plan in draws if len(plan) <= count), self._draw(0))

    def _draw(self, epoch: int, attempt: int = 0) -> Plan:
        rng = np.random.default_rng((self.seed, epoch, 2, attempt) if attempt else (self.seed, epoch))
        order = rng.permutation(self.rows)
        longest = np.empty(len(order), np.int32)
        for turn, start in enumerate(range(0, len(order), WINDOW)):
            window = slice(start, start + WINDOW)
            order[window] = self._sort(order[window])[:: -1 if turn % 2 else 1]
            longest[window] = self.lengths.longest(order[window])
        bounds = self.budget.fill(longest)
        if self.budget.spare(len(bounds) - 1):
            phase = rng.integers(self.budget.rows(longest))
            bounds = np.union1d(0, phase + self.budget.fill(longest[phase:]))
        return Plan(order, bounds)

    def _sort(self, rows: IntArray) -> IntArray:
        """Sort by target length, then by source length, up and down in turns; ties stay as they come."""
        if not self.bucketing:
            return rows
        src, tgt = self.lengths.src[rows].astype(np.int64), self.lengths.tgt[rows].astype(np.int64)
        return rows[np.argsort((tgt << 32) + np.where(tgt % 2, src, -src), kind="stable")]

    def _deal(self, plan: Plan, ranks: int) -> IntArray:
        """Slots (steps, ranks): a batch's number, or its number + M for a repetition that weighs nothing.

        The ranks of a step get batches of like cost, since the step lasts as long as its slowest rank.
        """
        rng = np.random.default_rng((self.seed, self.epoch, 1))
        longest = np.maximum(plan.widest(self.lengths.src), plan.widest(self.lengths.tgt))
        cost = longest * np.diff(plan.bounds)
        slots = np.arange(self._steps_of(ranks) * ranks)
        halved = 2 * cost // cost.max() == 0
        by_cost = slots[np.lexsort((longest[slots % len(plan)], halved[slots % len(plan)]))]
        steps = rng.permutation(by_cost.reshape(-1, ranks))
        return rng.permuted(steps, axis=1)

    def _divisors(self, plan: Plan, steps: IntArray) -> npt.NDArray[Any]:
        """Return for each step the divisor of the effective batch that it belongs to."""
        if self.normaliser == "constant":  # of all pairs, so that neither a limit nor other ranks change it
            tokens_of_epoch = int(self.lengths.tgt[self.rows].sum(dtype=np.int64))
            mean = np.float32(tokens_of_epoch / math.ceil(self._steps / self.accumulate))  # as a batch keeps it
            return np.full(len(steps), float(mean))
        tokens = np.append(plan.total(self.lengths.tgt), 0)[np.minimum(steps, len(plan))].sum(1)
        starts = np.arange(0, len(steps), self.accumulate)
        last = int(self.limit * len(steps)) if isinstance(self.limit, float) else self.limit
        if 0 < last < len(steps):
            starts = np.union1d(starts, [last])
        sizes = np.diff(np.append(starts, len(steps)))
        return np.repeat(np.add.reduceat(tokens, starts), sizes)


class EpochwiseSampler(BucketSampler):
    """The same, for pairs whose lengths are others in each epoch.

    An epoch's number of batches is that of epoch 0 and a twentieth more: what is over is made by halving some. Should
    an epoch need still more, which takes a corpus that grows, its budget grows until they suffice.

    Args:
        read: lengths of all pairs, and the pairs to visit, in an epoch.
        budget: the size of a batch.
        options: those of ``BucketSampler``.
    """

    def __init__(self, read: Callable[[int], tuple[Lengths, IntArray]], budget: Budget, **options: Any) -> None:
        self.read = read
        super().__init__(*read(0), budget, **options)

    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch)
        self.lengths, self.rows = self.read(epoch)

    def _spare(self, count: int) -> int:
        return 0 if self.budget.batch_size is not None else math.ceil(count / 20)

    def _smaller(self, count: int) -> Plan:
        kept = self.budget
        try:
            while len(plan := self._draw(self.epoch)) > count:
                self.budget = self.budget._replace(max_tokens=math.ceil(self.budget.max_tokens * 1.02))
        finally:
            self.budget = kept
        return plan


class EvaluationSampler(RankSampler):
    """Every pair once over all ranks, longest first: memory runs out at once or never.

    Ranks have equally many batches; with fewer pairs than ranks some are repeated, and whoever gathers the results
    drops them by their index.

    Args:
        lengths: of all pairs of the split.
        budget: the size of a batch.
        rank: of this process.
        world_size: processes that share the split.
    """

    def __init__(self, lengths: Lengths, budget: Budget, *, rank: int = 0, world_size: int = 1) -> None:
        super().__init__(rank, world_size)
        self.lengths = lengths
        order = np.lexsort((lengths.tgt, lengths.src))[::-1]
        plan = Plan(order, budget.fill(lengths.longest(order)))
        steps = math.ceil(len(plan) / world_size)
        self.plan = plan.split(steps * world_size)
        self._slots = range(rank, steps * world_size, world_size)

    def __len__(self) -> int:
        return len(self._slots)

    def __iter__(self) -> Iterator[BatchIndex]:
        for slot in self._slots:
            indices = self.plan.batch(slot % len(self.plan))
            yield BatchIndex(indices, float(self.lengths.tgt[indices].sum()))
