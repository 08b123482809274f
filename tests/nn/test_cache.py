"""A cache whose rows are moved by their index is one whose rows are copied."""

import pytest
import torch

from s2s_lightning.nn.key_value_cache import Cache, KeyValue


def random(rows: int, length: int) -> KeyValue:
    return KeyValue(*torch.randn(2, rows, 3, length, 4))


@pytest.mark.parametrize("grad", [True, False])
def test_rows_go_on_from_those_that_the_index_names(grad: bool) -> None:
    first, second, third = random(3, 2), random(4, 1), random(2, 3)
    begun = Cache.begin(first).append(first)
    moved = begun._replace(row=torch.tensor([2, 0, 0, 1]))
    with torch.set_grad_enabled(grad):
        longer = moved.append(second)
        found = longer._replace(row=longer.row[[3, 1]]).append(third)
    for i, cached in enumerate(found.kv):
        expected = torch.cat([first[i][[1, 0]], second[i][[3, 1]], third[i]], 2)
        assert torch.equal(cached, expected)
    assert found.length == 6
    assert (begun.length, moved.length, longer.length) == (2, 2, 3)


def test_two_may_go_on_from_one() -> None:
    first, one, other = random(2, 2), random(2, 1), random(2, 1)
    with torch.no_grad():
        begun = Cache.begin(first).append(first)
        left, right = begun.append(one), begun.append(other)
    assert torch.equal(left.kv.keys[:, :, 2:], one.keys)
    assert torch.equal(right.kv.keys[:, :, 2:], other.keys)


def test_gradients_reach_what_was_written_before() -> None:
    first, second = random(2, 2), random(2, 1)
    first.keys.requires_grad_()
    Cache.begin(first).append(first).append(second).kv.keys.sum().backward()
    assert torch.equal(first.keys.grad, torch.ones_like(first.keys))
