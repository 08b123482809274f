"""benchmarks/scaling_out.py: its closed formulas against a ring that is walked, and against each other."""

import numpy as np
import pytest

from benchmarks.scaling_out import (
    Network,
    buckets,
    efficiency,
    last_bucket,
    limits,
    most_ranks,
    papers,
    reduce_bytes,
    speeds,
    step_seconds,
)
from tests.helpers.documents import ROOT

P = 3_000_000
FAST = Network(1e9)


def ring(values: np.ndarray) -> tuple[np.ndarray, int]:
    """The sums of the rows as every rank has them after a ring all-reduce, and the numbers that a rank has sent."""
    ranks = len(values)
    parts = [list(np.split(row.copy(), ranks)) for row in values]
    sent = 0
    for turn in range(2 * (ranks - 1)):
        summing = turn < ranks - 1
        moved = [(rank, (rank - turn) % ranks) for rank in range(ranks)]
        for rank, part, data in [(rank, part, parts[rank][part].copy()) for rank, part in moved]:
            to = parts[(rank + 1) % ranks]
            to[part] = to[part] + data if summing else data
        sent += parts[0][0].size
    return np.stack([np.concatenate(row) for row in parts]), sent


@pytest.mark.parametrize("ranks", [2, 3, 5])
def test_a_ring_sums_and_sends_what_the_formula_says(ranks: int) -> None:
    values = np.random.default_rng(0).normal(size=(ranks, 30))
    sums, sent = ring(values)
    assert np.allclose(sums, values.sum(0))
    assert 4 * sent == pytest.approx(reduce_bytes(30, ranks))


@pytest.mark.parametrize("g", [0.3, 0.59, 0.61, 0.99, 1.01, 7.0])
def test_two_nodes_are_faster_than_one_as_the_text_says(g: float) -> None:
    alone = g * 2 * P * 4 / FAST.bandwidth
    assert (step_seconds(P, 2, FAST, alone, hidden=False) < alone) == (g > 1)
    large = 100 * P  # many buckets: the last is of no account
    alone = g * 2 * large * 4 / FAST.bandwidth
    assert (step_seconds(large, 2, FAST, alone) < alone) == (g > 0.6)


@pytest.mark.parametrize("g", [3, 8, 20])
def test_the_efficiency_is_a_half_where_the_text_says(g: int) -> None:
    alone = g * 2 * P * 4 / FAST.bandwidth
    assert efficiency(P, 1 + g, FAST, alone, hidden=False) == pytest.approx(0.5)
    large = 1000 * P
    alone = g * 2 * large * 4 / FAST.bandwidth
    assert most_ranks(large, FAST, alone) == int(1 + 5 / 3 * g)


def test_one_node_waits_for_nobody_and_latency_ends_it() -> None:
    assert efficiency(P, 1, FAST, 1.0) == 1
    slow = Network(1e9, 0.01)
    assert step_seconds(P, 64, slow, 1.0) > step_seconds(P, 8, slow, 1.0)


def test_the_last_bucket_is_what_the_others_leave() -> None:
    assert (buckets(1000), last_bucket(1000)) == (1, 1.0)
    bytes_of_two = 2**20 + 25 * 2**20
    assert buckets(bytes_of_two // 4) == 2
    assert last_bucket(bytes_of_two // 4) == 25 / 26


def test_the_tables_of_the_document_are_those_that_are_printed() -> None:
    cases = papers(50e12, [25_000, 400_000])
    text = (ROOT / "docs/measured/scaling_out.md").read_text()
    assert limits(cases, 2e-5) in text
    assert speeds(cases[-1], 2e-5) in text
