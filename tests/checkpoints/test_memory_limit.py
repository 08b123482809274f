"""A network is refused before its memory is taken, and one that fits is built as ever."""

import pytest
import torch
from torch import nn

from s2s_lightning.checkpoints.memory_limit import MemoryLimit
from s2s_lightning.errors import UserError


def test_a_network_of_the_limit_is_built_and_one_float_more_is_refused() -> None:
    with MemoryLimit(4 * (6 * 5 + 5)):
        nn.Linear(6, 5)
    with pytest.raises(UserError, match="lower its sizes"), MemoryLimit(4 * (6 * 5 + 5) - 1):
        nn.Linear(6, 5)


def test_no_memory_is_taken_for_what_is_refused() -> None:
    with pytest.raises(UserError, match="GiB"), MemoryLimit():
        torch.empty(2**30, 2**30)


def test_the_limit_changes_no_weight() -> None:
    torch.manual_seed(1)
    free = nn.LSTM(3, 4)
    torch.manual_seed(1)
    with MemoryLimit():
        limited = nn.LSTM(3, 4)
    assert all(torch.equal(a, b) for a, b in zip(free.parameters(), limited.parameters(), strict=True))
