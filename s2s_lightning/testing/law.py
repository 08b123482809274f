"""A law of the network: its check, how a breach is measured, and the result of a check."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, cast
from unittest import SkipTest

import torch
from torch import Tensor, nn

from s2s_lightning.model import Seq2Seq


class BrokenLaw(AssertionError):  # noqa: N818  a law is broken, no program
    """A network breaks a law; the message has the measured numbers."""


class NotApplicable(SkipTest):
    """A law says nothing of this network; pytest reports it as skipped."""


@dataclass(frozen=True)
class Law:
    """One law of the contract between a network and training, search and pictures.

    Attributes:
        name: one or two words.
        meaning: the law as a sentence.
        where_to_look: what breaks it as a rule.
        must: True if training or search gives wrong results where it is broken; the others are rules of this package.
        test: of a ``Seq2Seq`` in evaluation mode; raises BrokenLaw, or NotApplicable.
    """

    name: str
    meaning: str
    where_to_look: str
    must: bool
    test: Callable[..., None]

    def check(self, network: nn.Module) -> None:
        """Check a ``Seq2Seq``, or the one of a ``Seq2SeqModule``, in evaluation mode and in its own precision.

        Take float64, by ``network.double()``: in float32 tolerances are wide enough to hide small faults.

        Raises:
            BrokenLaw: the network breaks the law.
            NotApplicable: the law says nothing of this network.
        """
        model = seq2seq(network)
        with evaluating(model):
            self.test(model)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Result:
    """Outcome of one law.

    Attributes:
        law: the law.
        status: "ok", "FAILS" or "not applicable".
        said: the measured numbers of a failure, or why the law is not applicable.
    """

    law: Law
    status: Literal["ok", "FAILS", "not applicable"]
    said: str = ""


def seq2seq(network: nn.Module) -> Seq2Seq:
    """Return the network of a module, or the network itself."""
    return cast(Seq2Seq, network if isinstance(network, Seq2Seq) else network.model)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put the network into evaluation mode; after the context, each part is in the mode that it was in."""
    before = {part: part.training for part in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for part, training in before.items():
            part.training = training


def tolerance(model: nn.Module, single: float = 1e-4) -> float:
    """Return the difference that rounding explains: 1e-10 in float64, ``single`` in float32."""
    return 1e-10 if next(model.parameters()).dtype == torch.float64 else single


def agree(
    found: Tensor,
    expected: Tensor,
    what: str,
    when: str,
    limit: float,
    *,
    rtol: float = 0.0,
    real: Tensor | None = None,
) -> None:
    """Raise BrokenLaw if two tensors (B, ...) differ, with the numbers of the row that differs most.

    Args:
        found: what the change gave.
        expected: what stood there before it.
        what: noun for the entries.
        when: clause that names the change.
        limit: largest absolute difference that counts as equal.
        rtol: further difference, as a part of the largest finite entry.
        real: (B, T), the positions that count; None: all of them.
    """
    if found.shape != expected.shape:
        raise BrokenLaw(f"the {what} have shape {tuple(found.shape)} instead of {tuple(expected.shape)} {when}")
    gap = torch.where(found == expected, 0, (found - expected).abs().double())  # equal infinities differ by NaN
    counts = torch.ones_like(gap, dtype=torch.bool)
    if real is not None:
        counts &= real.reshape(*real.shape, *[1] * (gap.ndim - real.ndim))
    scale = expected[expected.isfinite()].abs().max().item() if rtol and expected.isfinite().any() else 0.0
    wrong = ~(gap <= limit + rtol * scale) & counts  # a NaN is wrong
    if not wrong.any():
        return
    rows = [int(row) for row in wrong.flatten(1).any(1).nonzero().flatten()]
    largest = torch.where(wrong, gap.nan_to_num(nan=torch.inf), 0).flatten(1).amax(1)
    row = int(largest.argmax())
    share = f"{int(wrong[row].sum())} of {int(counts[row].sum())} {what} of row {row}"
    others = f" (and some of {len(rows) - 1} other rows)" if len(rows) > 1 else ""
    raise BrokenLaw(f"{share} change by up to {largest[row]:.2g} {when}{others}")
