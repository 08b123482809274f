"""Law 14 over ranks: each configuration, as Lightning and DDP train it, against one batch of all sentences."""

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest
import torch

from tests.distributed.jobs import FAMILIES, VARIANTS, Steps, gradients
from tests.distributed.ranks import over

PLAIN = {1: [], 2: list(FAMILIES), 3: list(FAMILIES)[::4]}
"""World size -> what is trained without accumulation, too: on one rank there is nothing to see."""


@cache
def on_ranks(world_size: int, cases: str) -> list[dict[str, list[Steps]]]:
    """One set of processes for all cases."""
    folder = Path(mkdtemp())
    return over(world_size, folder, gradients, str(folder), cases, PLAIN[world_size])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_gradients_of_unequal_ranks_and_micro_batches_are_those_of_one_batch(world_size: int, family: str) -> None:
    ranks = [found[family] for found in on_ranks(world_size, "families")]
    windows, *plain = ranks[0]
    assert len(windows.errors) == 2  # of two micro-batches and of the one that is left
    assert world_size == 1 or any(len(set(tokens)) > 1 for tokens in windows.tokens)
    for steps in (windows, *plain):
        assert max(steps.errors) < 1e-10
    for other in ranks[1:]:
        assert torch.equal(other[0].weights, windows.weights)


@pytest.mark.parametrize("name", VARIANTS)
def test_so_are_those_of_other_objectives_and_of_parameters_that_a_batch_does_not_use(name: str) -> None:
    first, second = (found[name][0] for found in on_ranks(2, "variants"))
    if name != "LayerDrop":  # which draws
        assert max(first.errors) < (1e-6 if name == "float32" else 1e-10)
    assert torch.equal(first.weights, second.weights)
