"""What a search is tested on: a table of log-probabilities in place of a network, and slow searches in plain Python."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from s2s_lightning import BOS, EOS, PAD
from s2s_lightning.decoding import GNMT, Average, Hypothesis, LengthPenalty, Network, NoPenalty, Power, Tools
from s2s_lightning.decoding.search import no_lengths
from s2s_lightning.model import State, Step

VOCAB = 6
WORDS = range(EOS + 1, VOCAB)

PENALTIES: list[tuple[LengthPenalty, Callable[[int], float]]] = [
    (NoPenalty(), lambda n: 1.0),
    (Average(), float),
    (Power(0.6), lambda n: n**0.6),
    (Power(2.0), lambda n: n**2.0),
    (GNMT(0.6), lambda n: ((5 + n) / 6) ** 0.6),
    (GNMT(3.0), lambda n: ((5 + n) / 6) ** 3.0),
]
"""Each penalty with its formula, once more."""


class Table:
    """The search interface of Seq2Seq over a random table: a row of it for each (source, prefix).

    The source's share stands in the state's context and the prefix's in its carry, so that a search which takes either
    from the wrong row shows. ``rows`` lists how many rows each step was given.
    """

    def __init__(self, seed: int = 0, *, vocab: int = VOCAB, eos_bias: float = 0.0) -> None:
        generator = torch.Generator().manual_seed(seed)
        logits = 2 * torch.randn(997, vocab, generator=generator, dtype=torch.float64)
        logits[:, EOS] += eos_bias
        self.log_probs = logits.log_softmax(-1)
        self.starts = 0
        self.rows: list[int] = []

    def start(self, src: Tensor, src_padding: Tensor, src_copy: Tensor | None = None) -> State:
        self.starts += 1
        position = torch.arange(1, src.shape[1] + 1)
        context = (src * position**2).masked_fill(src_padding, 0).sum(1)
        return State((context,), {"prefix": torch.zeros(len(src), dtype=torch.long)})

    def step(self, tokens: Tensor, state: State, need_weights: bool = False) -> Step:
        assert not torch.is_grad_enabled()
        self.rows.append(len(tokens))
        prefix = (state.carry["prefix"] * 31 + tokens.squeeze(1) + 7) % 997
        log_probs = self.log_probs[(prefix + state.context[0]) % 997]
        return Step(log_probs.unsqueeze(1), State(state.context, {"prefix": prefix}), None)


def sources(count: int, seed: int = 0) -> list[list[int]]:
    """Random sources of unequal lengths, EOS last; the second is empty."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 6, (count,), generator=generator).tolist()
    rows = [torch.randint(3, 9, (length,), generator=generator).tolist() for length in lengths]
    return [[*([] if place == 1 else row), EOS] for place, row in enumerate(rows)]


def padded(rows: Sequence[Sequence[int]], extra: int = 0) -> tuple[Tensor, Tensor]:
    """(src, src_padding), ``extra`` columns wider than need be."""
    width = max(map(len, rows)) + extra
    src = torch.tensor([[*row, *[PAD] * (width - len(row))] for row in rows])
    return src, src == PAD


def forced(model: Network, src: Sequence[int], emitted: Sequence[int]) -> list[float]:
    """The log-probability of each emitted token after those before it."""
    with torch.no_grad():
        state, terms = model.start(*padded([src])), []
        for last, token in zip([BOS, *emitted], emitted, strict=False):
            step = model.step(torch.tensor([[last]]), state)
            state = step.state
            terms.append(step.log_probs[0, 0, token].item())
    return terms


def ranked(
    model: Network, src: Sequence[int], outputs: Iterator[tuple[int, ...]], divisor: Callable[[int], float]
) -> list[Hypothesis]:
    """Outputs (with EOS if they end) as hypotheses, best first."""
    found = []
    for emitted in outputs:
        log_prob = sum(forced(model, src, emitted))
        finished = emitted[-1] == EOS
        tokens = list(emitted[: len(emitted) - finished])
        found.append(Hypothesis(tokens, log_prob, log_prob / divisor(len(emitted)), finished))
    return sorted(found, key=lambda h: -h.score)


def all_outputs(shortest: int, longest: int) -> Iterator[tuple[int, ...]]:
    """Every output of the vocabulary within the limits: those that end, and those that are cut."""
    for length in range(max(shortest, 1), longest + 1):
        for words in product(WORDS, repeat=length - 1):
            yield (*words, EOS)
    yield from product(WORDS, repeat=longest)


def beam_outputs(
    model: Table, src: Sequence[int], beam_size: int, shortest: int, longest: int, enough: float = math.inf
) -> Iterator[tuple[int, ...]]:
    """What a beam search comes across that never stops before the maximum length, or until enough ended."""
    live: list[tuple[int, ...]] = [()]
    ended = 0
    log_prob = partial(_log_prob, model, src)
    for length in range(1, longest + 1):
        tokens = [*WORDS, EOS] if length >= shortest else [*WORDS]
        candidates = sorted(((*prefix, token) for prefix in live for token in tokens), key=log_prob, reverse=True)
        ending = [emitted for emitted in candidates[:beam_size] if emitted[-1] == EOS]
        yield from ending
        ended += len(ending)
        if ended >= enough and length < longest:  # at the limit the live ones are cut, and count
            return
        live = [emitted for emitted in candidates if emitted[-1] != EOS][:beam_size]
    yield from live


def _log_prob(model: Table, src: Sequence[int], emitted: Sequence[int]) -> float:
    return sum(forced(model, src, emitted))


def assert_same(found: Sequence[Hypothesis], expected: Sequence[Hypothesis], tolerance: float = 1e-9) -> None:
    """Equal tokens, and scores to rounding."""
    assert [(h.tokens, h.finished) for h in found] == [(h.tokens, h.finished) for h in expected]
    for column in ("log_prob", "score"):
        values = [[getattr(h, column) for h in hypotheses] for hypotheses in (found, expected)]
        torch.testing.assert_close(*map(torch.tensor, values), rtol=0, atol=tolerance)


def tools(**given: Callable[..., Any]) -> Tools:
    """Those that a test needs."""
    missing = {name: partial(pytest.fail, f"{name} is not to be used") for name in Tools._fields}
    return Tools(**{**missing, "lengths": no_lengths, **given})
