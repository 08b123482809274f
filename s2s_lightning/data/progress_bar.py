"""A progress bar for what may take long."""

from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def progress(items: Iterable[T], title: str, unit: str) -> Iterable[T]:
    """The items; on a terminal a bar counts them, once they take more than a second."""
    bar: Iterable[T] = tqdm(items, title, unit=f" {unit}", unit_scale=True, delay=1, disable=None)
    return bar
