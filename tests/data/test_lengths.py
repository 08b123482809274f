"""What a search knows of training: the longest target by the length of the source."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from s2s_lightning.data.store import longest_by_source

PAIRS = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 30)), min_size=1, max_size=40)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(PAIRS)
def test_each_target_is_within_what_is_kept_for_its_source(pairs: list[tuple[int, int]]) -> None:
    src, tgt = (np.array(side, np.int32) for side in zip(*pairs, strict=True))
    lengths, longest, longest_source = longest_by_source(src, tgt)
    assert longest_source == max(src)
    assert lengths == sorted(set(lengths))
    assert longest == sorted(set(longest))
    for s in range(1, 10):
        seen = [t for length, t in pairs if length <= s]
        kept = [t for length, t in zip(lengths, longest, strict=True) if length <= s]
        assert (max(seen) if seen else None) == (kept[-1] if kept else None)
