"""References that their own ids do not give back: no output is equal to them, however good the model."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from s2s_lightning import UNK
from s2s_lightning.data.copier import Copier
from s2s_lightning.data.corpora import Pair
from s2s_lightning.data.vocabularies import Tokenizers

REASONS = ("", "unknown symbols", "white space", "case or Unicode form", "other")
"""Why a reference is not given back, by a number that is kept beside its ids; 0: it is."""


def unequal(items: Sequence[Pair], tokenizers: Tokenizers, copier: Copier | None) -> npt.NDArray[np.uint8]:
    """Return a number of ``REASONS`` for each item: 0 where one of its references is given back, else the first's."""
    sources = [item.src for item in items for _ in item.refs]
    references = [reference for item in items for reference in item.refs]
    if copier is None:
        ids = tokenizers.target.encode(references)
        written = tokenizers.target.decode(ids)
    else:
        ids = copier.encode_targets(references, sources)
        written = copier.decode(ids, sources)
    reasons = iter([_reason(*each) for each in zip(references, ids, written, strict=True)])
    of_items = ([next(reasons) for _ in item.refs] for item in items)
    return np.array([0 if 0 in each else each[0] for each in of_items], np.uint8)


def counted(reasons: npt.NDArray[np.uint8]) -> dict[str, int]:
    """Count the items that no output can equal by their reason, the most frequent first."""
    counts = Counter(reasons[reasons > 0].tolist())
    return {REASONS[reason]: count for reason, count in counts.most_common()}


def listed(counts: dict[str, int], items: int) -> str:
    """Return counts by reason as they are shown: ``3 of 8 (white space 2, other 1)``."""
    by_reason = ", ".join(f"{reason} {count:,}" for reason, count in counts.items())
    return f"{sum(counts.values()):,} of {items:,} ({by_reason})"


def _reason(reference: str, ids: Iterable[int], written: str) -> int:
    if written == reference:
        return 0
    if UNK in ids:
        return 1
    if _squeezed(written) == _squeezed(reference):
        return 2
    return 3 if _folded(written) == _folded(reference) else 4


def _squeezed(text: str) -> str:
    return "".join(text.split())


def _folded(text: str) -> str:
    """The text without what lower-casing, normal forms and white space change."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", _squeezed(text)).casefold())
