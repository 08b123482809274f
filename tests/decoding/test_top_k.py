"""The fast way to the k largest against torch's."""

import pytest
import torch

from s2s_lightning.decoding.top_k import GROUP, top_k


@pytest.mark.parametrize("size", [1, 3, 50, 20 * GROUP, 20 * GROUP + 1, 33 * GROUP - 1])
@pytest.mark.parametrize("k", [1, 5])
def test_top_k_is_that_of_torch(size: int, k: int) -> None:
    x = torch.randn(4, 3, size + 3, generator=torch.Generator().manual_seed(size), dtype=torch.float64)[..., 3:]
    found, expected = top_k(x, k), x.topk(min(k, size))
    assert torch.equal(found.values, expected.values)
    assert torch.equal(found.indices, expected.indices)


def test_minus_infinity_is_taken_last_and_no_index_twice() -> None:
    x = torch.full((2, 40 * GROUP), -torch.inf)
    x[:, 7] = x[:, 500] = 1.0
    values, indices = top_k(x, 5)
    assert sorted(indices[0, :2].tolist()) == [7, 500]
    assert values[:, 2:].isneginf().all()
    assert all(len(set(row)) == 5 for row in indices.tolist())
