"""Law 17, for one process and, since the plan is a pure function, for any number of ranks."""

import math
from itertools import zip_longest

import numpy as np
import pytest

from s2s_lightning.data import bucket_sampler
from s2s_lightning.data.bucket_sampler import BatchIndex, BucketSampler, Budget, EvaluationSampler, Lengths, Plan
from s2s_lightning.data.position import Position

RANKS = [1, 2, 3, 8]


def random_lengths(count: int, longest: int = 30, seed: int = 0) -> Lengths:
    src, tgt = np.random.default_rng(seed).integers(1, longest, (2, count)).astype(np.int32)
    return Lengths(src, tgt)


def samplers(lengths: Lengths, budget: Budget, world_size: int, **options: int | float) -> list[BucketSampler]:
    rows = np.arange(len(lengths.src), dtype=np.int32)
    return [
        BucketSampler(lengths, rows, budget, rank=rank, world_size=world_size, **options) for rank in range(world_size)
    ]


def indices(batches: list[BatchIndex]) -> list[int]:
    return sorted(int(i) for batch in batches for i in batch.indices)


def cost(lengths: Lengths, batch: BatchIndex) -> int:
    return len(batch.indices) * int(lengths.longest(batch.indices).max())


@pytest.mark.parametrize("world_size", RANKS)
@pytest.mark.parametrize("budget", [Budget(100), Budget(100, batch_size=7)])
def test_every_pair_is_seen_once_an_epoch_over_all_ranks(budget: Budget, world_size: int) -> None:
    lengths = random_lengths(1000)
    ranks = samplers(lengths, budget, world_size)
    for epoch in range(3):
        for sampler in ranks:
            sampler.set_epoch(epoch)
        assert indices([batch for sampler in ranks for batch in sampler]) == list(range(1000))


@pytest.mark.parametrize("world_size", RANKS)
def test_ranks_and_epochs_have_equal_numbers_of_batches(world_size: int) -> None:
    ranks = samplers(random_lengths(1000), Budget(100), world_size)
    counts = {len(sampler) for sampler in ranks}
    for epoch in range(5):
        for sampler in ranks:
            sampler.set_epoch(epoch)
            counts.add(sum(1 for _ in sampler))
    assert len(counts) == 1


@pytest.mark.parametrize("count", [1, 2, 3, 5, 16, 17])
@pytest.mark.parametrize("world_size", RANKS)
def test_what_is_repeated_for_equal_numbers_weighs_nothing(count: int, world_size: int) -> None:
    batches = [list(sampler) for sampler in samplers(random_lengths(count), Budget(40), world_size)]
    assert len(set(map(len, batches))) == 1
    assert indices([batch for rank in batches for batch in rank if batch.divisor < math.inf]) == list(range(count))


@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("budget", [Budget(100), Budget(100, batch_size=3)])
def test_whatever_the_size_of_the_corpus_ranks_share_an_epoch_evenly(budget: Budget, world_size: int) -> None:
    """Each pair counts once, ranks make as many steps, and in a step all batches cost between c and 2 c.

    Or all are small, of less than half the largest cost; where these begin there may be one step with both kinds.
    """
    for count in [*range(1, 50), 100, 333]:
        lengths = random_lengths(count, seed=count)
        ranks = [list(sampler) for sampler in samplers(lengths, budget, world_size)]
        assert len(set(map(len, ranks))) == 1
        assert indices([batch for rank in ranks for batch in rank if batch.divisor < math.inf]) == list(range(count))
        costs = np.array([[cost(lengths, batch) for batch in rank] for rank in ranks])
        slowest, fastest = costs.max(0), costs.min(0)
        uneven = (slowest > 2 * fastest) & (2 * slowest >= costs.max())
        assert uneven.sum() <= 1


@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 5])
def test_whatever_its_size_evaluation_has_each_sentence_once_or_whole_batches_twice(world_size: int) -> None:
    for count in range(1, 50):
        samplers = [
            EvaluationSampler(random_lengths(count), Budget(50), rank=r, world_size=world_size)
            for r in range(world_size)
        ]
        seen = [tuple(batch.indices) for sampler in samplers for batch in sampler]
        assert indices([BatchIndex(np.array(batch), 1.0) for batch in set(seen)]) == list(range(count))
        assert len(set(map(len, samplers))) == 1
        assert len(set(seen)) == len(seen) or count < len(seen)


def test_no_batch_is_over_the_budget_and_no_row_of_pairs_would_fit_one_more() -> None:
    lengths, budget = random_lengths(1000), Budget(100)
    sampler = samplers(lengths, budget, 1)[0]
    assert all(cost(lengths, batch) <= 100 for batch in sampler)
    plan = sampler._draw(0)
    for i in range(1, len(plan) - 1):
        grown = plan.order[plan.bounds[i] : plan.bounds[i + 1] + 1]
        assert len(grown) * lengths.longest(grown).max() > 100


def test_a_pair_over_the_budget_makes_a_batch_of_its_own() -> None:
    lengths = Lengths(np.array([3, 500, 3], np.int32), np.array([3, 3, 3], np.int32))
    batches = [batch.indices.tolist() for batch in samplers(lengths, Budget(10), 1)[0]]
    assert [1] in batches
    assert sum(map(len, batches)) == 3


def test_filling_is_the_greedy_loop() -> None:
    longest = np.random.default_rng(0).integers(1, 30, 300)
    bounds, widest = [0], 0
    for i, length in enumerate(longest.tolist()):
        widest = max(widest, length)
        if (i + 1 - bounds[-1]) * widest > 100:
            bounds.append(i)
            widest = length
    assert Budget(100).fill(longest).tolist() == [*bounds, 300]


def test_batch_size_counts_sentences_alone() -> None:
    sizes = sorted(len(batch.indices) for batch in samplers(random_lengths(1000), Budget(1, batch_size=64), 1)[0])
    assert sizes == [1000 % 64] + [64] * (1000 // 64)


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[list[int]]:
        sampler = samplers(random_lengths(500), Budget(100), 1, seed=seed)[0]
        sampler.set_epoch(epoch)
        return [batch.indices.tolist() for batch in sampler]

    assert order(0, 3) == order(0, 3)
    assert order(0, 3) != order(0, 4)
    assert order(0, 3) != order(1, 3)


def test_batches_differ_between_epochs_in_more_than_their_order() -> None:
    sampler = samplers(random_lengths(5000), Budget(400), 1)[0]
    first, second = (sampler.plan(epoch) for epoch in (0, 1))
    kept = {frozenset(first.batch(i)) for i in range(len(first))} & {
        frozenset(second.batch(i)) for i in range(len(second))
    }
    assert len(kept) < 0.1 * len(first)


def test_ranks_get_batches_of_like_cost_at_each_step() -> None:
    lengths = random_lengths(20000)
    ranks = [[cost(lengths, batch) for batch in sampler] for sampler in samplers(lengths, Budget(400), 4)]
    slowest = sum(max(step) for step in zip(*ranks, strict=True))
    assert sum(map(sum, ranks)) / 4 > 0.95 * slowest


@pytest.mark.parametrize("world_size", RANKS)
@pytest.mark.parametrize("limit", [1.0, 0.5, 5, 10**6])
@pytest.mark.parametrize("accumulate", [1, 4])
def test_the_divisor_is_the_real_target_tokens_of_the_effective_batch(
    world_size: int, accumulate: int, limit: int | float
) -> None:
    lengths = random_lengths(400)
    ranks = [list(s) for s in samplers(lengths, Budget(100), world_size, accumulate=accumulate, limit=limit)]
    seen = int(limit * len(ranks[0])) if isinstance(limit, float) else min(limit, len(ranks[0]))
    steps = list(zip(*(rank[:seen] for rank in ranks), strict=True))
    for start in range(0, seen, accumulate):
        window = [batch for step in steps[start : start + accumulate] for batch in step]
        tokens = sum(int(lengths.tgt[batch.indices].sum()) for batch in window if batch.divisor < math.inf)
        assert {batch.divisor for batch in window} <= {tokens, math.inf}


def test_only_the_given_rows_are_visited() -> None:
    lengths, rows = random_lengths(100), np.arange(0, 100, 3, dtype=np.int32)
    assert indices(list(BucketSampler(lengths, rows, Budget(60)))) == rows.tolist()


def test_a_corpus_of_many_windows_loses_nothing_and_keeps_its_number_of_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bucket_sampler, "WINDOW", 500)
    sampler = samplers(random_lengths(4321), Budget(100), 1)[0]
    for epoch in range(8):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert len(batches) == len(sampler)
        assert indices(batches) == list(range(4321))


def test_batches_of_like_length_pad_little() -> None:
    rng = np.random.default_rng(0)
    tgt = rng.poisson(12, 20000).astype(np.int32) + 1
    lengths = Lengths(np.maximum(1, tgt + rng.integers(-3, 4, 20000)).astype(np.int32), tgt)
    plan = samplers(lengths, Budget(4096), 1)[0].plan(0)
    assert plan.padding(lengths.tgt) < 0.02


def test_padding_is_the_share_of_positions_that_are_not_real() -> None:
    plan = Plan(np.arange(4), np.array([0, 3, 4]))
    assert plan.padding(np.array([1, 2, 3, 5])) == pytest.approx(3 / 14)


@pytest.mark.parametrize("world_size", RANKS)
@pytest.mark.parametrize("count", [1, 5, 200])
def test_evaluation_sees_every_sentence_over_all_ranks_in_equal_numbers_of_batches(count: int, world_size: int) -> None:
    lengths = random_lengths(count)
    ranks = [
        list(EvaluationSampler(lengths, Budget(50), rank=rank, world_size=world_size)) for rank in range(world_size)
    ]
    in_order = [batch for step in zip_longest(*ranks) for batch in step]
    assert len(set(map(len, ranks))) == 1
    assert sorted(set(indices(in_order))) == list(range(count))
    if count >= len(in_order):
        assert len(indices(in_order)) == count
    assert all(cost(lengths, batch) <= 50 for batch in in_order)


def test_evaluation_begins_with_the_longest_sources() -> None:
    lengths = random_lengths(100)
    order = np.concatenate([batch.indices for batch in EvaluationSampler(lengths, Budget(50))])
    assert (np.diff(lengths.src[order]) <= 0).all()


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize(
    "path", [[(2, 5), (3, 4), (1, 40)], [(1, 30), (4, 0)], [(3, 1), (2, 30)], [(4, 10), (1, 50), (4, 12)]]
)
def test_ranks_that_change_within_an_epoch_see_every_pair_once(path: list[tuple[int, int]], accumulate: int) -> None:
    """Each takes some steps of the epoch's number that is left, the last ones all of it."""
    lengths, budget = random_lengths(1000), Budget(100)
    seen: list[BatchIndex] = []
    position = Position(epoch=1)
    for turn, (world_size, steps) in enumerate(path):
        ranks = samplers(lengths, budget, world_size, accumulate=accumulate)
        position = ranks[0].moved(position._replace(ranks=position.ranks if turn else world_size))
        assert position.batches % accumulate == 0
        until = position.batches + steps * accumulate if turn < len(path) - 1 else len(ranks[0])
        for sampler in ranks:
            sampler.start, sampler.epoch = position, 1
            rest = list(sampler)
            assert len(rest) == len(sampler) - position.batches
            seen += rest[: until - position.batches]
        position = position._replace(batches=until)
    assert indices([batch for batch in seen if batch.divisor < math.inf]) == list(range(1000))


def test_divisors_of_the_rest_of_an_epoch_are_the_tokens_of_its_windows() -> None:
    lengths = random_lengths(300)
    ranks = samplers(lengths, Budget(100), 2, accumulate=2)
    start = ranks[0].moved(Position(0, 6, 3))
    for sampler in ranks:
        sampler.start = start
    steps = list(zip(*ranks, strict=True))
    for window in (steps[i : i + 2] for i in range(0, len(steps), 2)):
        real = [batch for step in window for batch in step if batch.divisor < math.inf]
        tokens = sum(int(lengths.tgt[batch.indices].sum()) for batch in real)
        assert {batch.divisor for batch in real} == {tokens}


def test_the_first_cut_of_an_epoch_is_at_a_random_place() -> None:
    """So that pairs of one length have other companions in each epoch."""
    equal = Lengths(np.full(4000, 5, np.int32), np.full(4000, 5, np.int32))
    sampler = samplers(equal, Budget(95), 1)[0]
    first_cuts = set()
    for epoch in range(12):
        sampler.set_epoch(epoch)
        first_cuts.add(int(sampler._draw(epoch).bounds[1]))
    assert len(first_cuts) > 4
