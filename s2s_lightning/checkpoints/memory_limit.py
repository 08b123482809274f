"""A limit on the memory that a network may ask for while it is built."""

import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from s2s_lightning.errors import UserError

SIZED = ("empty", "zeros", "ones", "full", "rand", "randn")
"""Factories of torch whose first argument is the size of the tensor."""


def physical_memory() -> int:
    """Return the bytes of memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


class MemoryLimit(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuse a network larger than the machine before its memory is taken.

    Within, the sizes of new tensors are added up. Without a limit the operating system would grant the memory and kill
    the process when it is written to, or torch would raise an error that names no option.

    Args:
        limit: bytes; those of the machine by default.

    Raises:
        UserError: the tensors together are larger than the limit.
    """

    def __init__(self, limit: int | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.limit = physical_memory() if limit is None else limit
        self.taken = 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Count a new tensor, then make it."""
        kwargs = kwargs or {}
        if func.overloadpacket.__name__ in SIZED and isinstance(args[0], Sequence):
            self._take(math.prod(args[0]) * _item_size(kwargs.get("dtype")))
        make: Callable[..., Any] = func
        return make(*args, **kwargs)

    def _take(self, size: int) -> None:
        self.taken += size
        if self.taken > self.limit:
            raise UserError(
                f"the network needs more than {self.taken / 2**30:,.0f} GiB for its weights alone, and this machine "
                f"has {self.limit / 2**30:,.0f} GiB: lower its sizes"
            )


def _item_size(dtype: torch.dtype | None) -> int:
    return (dtype or torch.get_default_dtype()).itemsize
