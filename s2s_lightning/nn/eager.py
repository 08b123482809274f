"""Functions that stay out of compiled graphs."""

from collections.abc import Callable
from typing import TypeVar, cast

import torch

Function = TypeVar("Function", bound=Callable[..., object])


def eager(function: Function) -> Function:
    """Run it, with all that it calls, as it is written, also within what ``torch.compile`` has compiled.

    It is for loops over time: unrolled into a graph, they would be compiled anew for every length. A call costs 1 us.
    """
    return cast(Function, torch.compiler.disable(function))  # type: ignore[no-untyped-call]
