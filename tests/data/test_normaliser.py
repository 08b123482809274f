"""Weights of target tokens in a batch, for both divisors and for batches without buckets."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from s2s_lightning.data import Generated, Seq2SeqData
from s2s_lightning.data.bucket_sampler import BatchIndex, BucketSampler, Budget, Lengths
from s2s_lightning.data.position import Position
from s2s_lightning.errors import UserError

PAIRS = 1003
SENTENCES = Budget(1, batch_size=16)
OPTIONS = [{"normaliser": n, "bucketing": b} for n in ("tokens", "constant") for b in (True, False)]


def lengths() -> Lengths:
    random = np.random.default_rng(0)
    src, tgt = (random.integers(2, longest, PAIRS).astype(np.int32) for longest in (20, 48))
    return Lengths(src, tgt)


def sampler(budget: Budget = SENTENCES, **options: Any) -> BucketSampler:
    return BucketSampler(lengths(), np.arange(PAIRS, dtype=np.int32), budget, **options)


def batches(made: BucketSampler, epoch: int) -> list[BatchIndex]:
    made.set_epoch(epoch)
    return list(made)


def weights(epochs: int = 20, **options: Any) -> tuple[float, float]:
    """Return the mean weight of a token in short and in long targets; that of the mean token is 1."""
    tgt, weight = lengths().tgt, np.zeros(PAIRS)
    made = sampler(accumulate=2, **options)
    for epoch in range(epochs):
        for batch in batches(made, epoch):
            weight[batch.indices] += 1 / batch.divisor
    weight /= weight @ tgt / tgt.sum()
    return float(weight[tgt < 8].mean()), float(weight[tgt > 42].mean())


def same(left: Sequence[BatchIndex], right: Sequence[BatchIndex]) -> bool:
    pairs = zip(left, right, strict=True)
    return all(np.array_equal(a.indices, b.indices) and a.divisor == b.divisor for a, b in pairs)


def test_buckets_of_sentences_weigh_long_targets_down_unless_the_divisor_is_constant() -> None:
    short, long = weights(normaliser="tokens")
    assert short / long > 2
    assert weights(normaliser="constant") == pytest.approx((1, 1), abs=1e-9)
    assert weights(normaliser="constant", bucketing=False) == pytest.approx((1, 1), abs=1e-9)
    assert weights(normaliser="tokens", bucketing=False) == pytest.approx((1, 1), abs=0.1)


@pytest.mark.parametrize("accumulate", [1, 2, 7])
@pytest.mark.parametrize("world_size", [1, 2])
def test_the_constant_is_the_mean_of_the_tokens_of_effective_batches(world_size: int, accumulate: int) -> None:
    ranks = [
        sampler(rank=rank, world_size=world_size, accumulate=accumulate, normaliser="constant")
        for rank in range(world_size)
    ]
    divisors = {b.divisor for made in ranks for epoch in (0, 3) for b in batches(made, epoch) if np.isfinite(b.divisor)}
    steps = -(-len(ranks[0]) // accumulate)
    assert divisors == {float(np.float32(lengths().tgt.sum() / steps))}


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"batch_size": 4}, "constant"),
        ({"batch_size": 4, "max_tokens": None}, "constant"),
        ({}, "tokens"),
        ({"max_tokens": 64}, "tokens"),
        ({"batch_size": 4, "normaliser": "tokens"}, "tokens"),
        ({"max_tokens": 64, "normaliser": "constant"}, "constant"),
    ],
)
def test_the_divisor_is_constant_by_default_for_a_number_of_sentences_alone(given: Any, found: str) -> None:
    made = Seq2SeqData(Generated("copy"), **given)
    assert (made.normaliser, made.bucketing) == (found, True)


@pytest.mark.parametrize("normaliser", ["token", "", 3])
def test_an_unknown_normaliser_is_refused_in_one_line(normaliser: Any) -> None:
    with pytest.raises(UserError, match=r"^normaliser=.* is none of tokens, constant, null: give one$"):
        Seq2SeqData(Generated("copy"), batch_size=4, normaliser=normaliser)


@pytest.mark.parametrize("budget", [SENTENCES, Budget(512)])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_an_epoch_goes_on_in_its_middle_with_the_same_batches(options: Any, budget: Budget) -> None:
    whole = batches(sampler(budget, **options), 2)
    rest = batches(sampler(budget, start=Position(2, 5, 1), **options), 2)
    assert same(rest, whole[5:])


@pytest.mark.parametrize("budget", [SENTENCES, Budget(512)])
@pytest.mark.parametrize("world_size", [1, 2])
def test_without_buckets_each_pair_is_seen_once_within_the_budget(world_size: int, budget: Budget) -> None:
    ranks = [sampler(budget, rank=r, world_size=world_size, bucketing=False) for r in range(world_size)]
    for epoch in range(3):
        real = [b for made in ranks for b in batches(made, epoch) if np.isfinite(b.divisor)]
        assert sorted(i for b in real for i in b.indices.tolist()) == list(range(PAIRS))
        widths = [len(b.indices) * int(lengths().longest(b.indices).max()) for b in real]
        assert budget.batch_size or max(widths) <= budget.max_tokens


def test_without_buckets_no_epoch_has_the_batches_of_another() -> None:
    made = sampler(Budget(512), bucketing=False)
    orders = [made.plan(epoch).order.tolist() for epoch in range(1, 40) if not made.set_epoch(epoch)]
    assert len(set(map(tuple, orders))) == 39
    assert made.plan(0).order.tolist() not in orders


def test_workers_gather_the_batches_of_the_process_itself(tmp_path: Path) -> None:
    def rows(workers: int) -> list[list[int]]:
        corpus = Generated("copy", max_length=9, train_pairs=30, val_pairs=2, test_pairs=2)
        made = Seq2SeqData(corpus, batch_size=4, bucketing=False, num_workers=workers, cache_dir=str(tmp_path))
        made.setup("fit")
        return [batch.rows.tolist() for batch in made.train_dataloader()]

    assert rows(2) == rows(0)
