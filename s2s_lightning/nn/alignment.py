"""Scores of source positions for a decoder's state, and the windows in which they become weights.

Shape letters: B batch, S source, T target, D memory, Q query, A inside of a score.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from s2s_lightning.errors import UserError, check_at_least
from s2s_lightning.nn.attention import softmax
from s2s_lightning.nn.eager import eager
from s2s_lightning.nn.scan import single


class AttentionContext(NamedTuple):
    """The source as attention needs it: keys (B, S, A), values (B, S, D or as projected), padding (B, S)."""

    keys: Tensor
    values: Tensor
    padding: Tensor


class Score(nn.Module, ABC):
    """Score of queries against source positions. The part that depends on the source alone is computed once, by
    ``keys``.
    """

    @abstractmethod
    def keys(self, states: Tensor) -> Tensor:
        """Projected states, once a source: (B, S, D) -> (B, S, A)."""

    @abstractmethod
    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        """Query (B, T, Q), keys (B, S, A) -> scores (B, T, S)."""


class DotScore(Score):
    """score(q, k) = q . k (Luong et al., 2015, 3.1, arXiv:1508.04025).

    Args:
        d_query: width of the queries.
        d_memory: width of the encoder's states.

    Raises:
        UserError: the widths differ.
    """

    def __init__(self, d_query: int, d_memory: int) -> None:
        super().__init__()
        if d_query != d_memory:
            raise UserError(
                f"score=dot needs a decoder as wide as the encoder's states, but {d_query} != {d_memory}: "
                "make them equal or set score to general"
            )

    def keys(self, states: Tensor) -> Tensor:
        return states

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        return query @ keys.mT


class GeneralScore(Score):
    """score(q, k) = q . W k (Luong et al., 2015, 3.1, arXiv:1508.04025).

    Args:
        d_query: width of the queries.
        d_memory: width of the encoder's states.
    """

    def __init__(self, d_query: int, d_memory: int) -> None:
        super().__init__()
        self.key = nn.Linear(d_memory, d_query, bias=False)
        nn.init.xavier_uniform_(self.key.weight)

    def keys(self, states: Tensor) -> Tensor:
        projected: Tensor = self.key(states)
        return projected

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        return query @ keys.mT


class AdditiveScore(Score):
    """score(q, k) = v . tanh(W q + U k) (Bahdanau et al., 2015, A.1.2, arXiv:1409.0473).

    Luong's "concat", v . tanh(W [q; k]), is the same function. It makes (B, T, S, A) numbers.

    Args:
        d_query: width of the queries.
        d_memory: width of the encoder's states.
        d_score: width A inside the tanh, by default that of the queries.
    """

    def __init__(self, d_query: int, d_memory: int, d_score: int | None = None) -> None:
        super().__init__()
        check_at_least(1, d_score=d_score)
        d_score = d_query if d_score is None else d_score
        self.query = nn.Linear(d_query, d_score, bias=False)
        self.key = nn.Linear(d_memory, d_score, bias=False)
        self.v = nn.Parameter(torch.empty(d_score))
        nn.init.xavier_uniform_(self.query.weight)
        nn.init.xavier_uniform_(self.key.weight)
        nn.init.normal_(self.v, std=d_score**-0.5)

    def keys(self, states: Tensor) -> Tensor:
        projected: Tensor = self.key(states)
        return projected

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        projected: Tensor = self.query(query)
        return (projected.unsqueeze(2) + keys.unsqueeze(1)).tanh() @ self.v


class LocationScore(Score):
    """score_s = (W q)_s: the query alone chooses positions (Luong et al., 2015, eq. 8, arXiv:1508.04025).

    W has a row a position; a short source takes the first rows, and of a long one the positions behind the last row get
    no weight, as in the paper.

    Args:
        d_query: width of the queries.
        max_positions: rows of W, source positions that can be seen.
    """

    def __init__(self, d_query: int, max_positions: int) -> None:
        super().__init__()
        self.position = nn.Linear(d_query, max_positions, bias=False)
        nn.init.xavier_uniform_(self.position.weight)

    def keys(self, states: Tensor) -> Tensor:
        return states[..., :0]  # their number alone matters

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        scores = nn.functional.linear(query, self.position.weight[: keys.shape[1]])
        beyond = keys.shape[1] - scores.shape[2]
        return nn.functional.pad(scores, (0, beyond), value=torch.finfo(scores.dtype).min)


def align(scores: Tensor, padding: Tensor) -> Tensor:
    """Softmax over the real source positions: scores (B, T, S), padding (B, S) -> weights (B, T, S), 0 at padding.

    A row that is all padding, which no batch has, would give equal weights and not NaN.
    """
    lowest = torch.finfo(scores.dtype).min
    return softmax(scores.masked_fill(padding.unsqueeze(1), lowest))


class Window(nn.Module, ABC):
    """Makes weights of scores, in a part of the source that may depend on the step."""

    @abstractmethod
    def forward(self, scores: Tensor, query: Tensor, step: Tensor, padding: Tensor) -> Tensor:
        """Weights (B, T, S), 0 at padding.

        Args:
            scores: (B, T, S).
            query: (B, T, Q).
            step: (B, T), the number of each target position, from 0 on.
            padding: (B, S), True at padding.
        """


class GlobalWindow(Window):
    """The whole source: each row of weights sums to 1."""

    def forward(self, scores: Tensor, query: Tensor, step: Tensor, padding: Tensor) -> Tensor:
        return align(scores, padding)


class MonotonicWindow(Window):
    """local-m: the positions t - D to t + D at step t (Luong et al., 2015, 3.2, arXiv:1508.04025).

    A row sums to 1 or, once the window lies behind the end of the source, to 0. All scores are computed and then
    hidden, so that it is no faster than the whole source.

    Args:
        radius: D, positions on each side of the centre.
    """

    needs_source_order = True
    """Source positions are those of the text: position 0 is its first token."""

    def __init__(self, radius: int) -> None:
        super().__init__()
        self.radius = radius

    def forward(self, scores: Tensor, query: Tensor, step: Tensor, padding: Tensor) -> Tensor:
        return self.align_near(scores, self.distance(step, scores), padding)

    def distance(self, centre: Tensor, scores: Tensor) -> Tensor:
        """Return the distance of each source position from centre (B, T), both counted from 0: (B, T, S)."""
        return torch.arange(scores.shape[2], device=scores.device) - centre.unsqueeze(-1)

    def align_near(self, scores: Tensor, distance: Tensor, padding: Tensor) -> Tensor:
        """Softmax over the real positions with -D <= distance <= D; a row without any is 0."""
        hidden = (distance.abs() > self.radius) | padding.unsqueeze(1)
        lowest = torch.finfo(scores.dtype).min
        return softmax(scores.masked_fill(hidden, lowest)).masked_fill(hidden, 0)


class PredictiveWindow(MonotonicWindow):
    """local-p: the window's centre is predicted (Luong et al., 2015, eq. 9-10, arXiv:1508.04025).

    p_t = S sigmoid(v . tanh(W q)), with S the real length of the row's own source; the softmax in [p_t - D, p_t + D] is
    multiplied by exp(-(s - p_t)^2 / (2 (D / 2)^2)), so that a row sums to less than 1. Source positions s count from 1,
    in the order of reading: the centre is learnt.

    Args:
        d_query: width Q of the queries.
        radius: D, positions on each side of the centre.
    """

    needs_source_order = False

    def __init__(self, d_query: int, radius: int) -> None:
        super().__init__(radius)
        self.inner = nn.Linear(d_query, d_query, bias=False)
        self.v = nn.Parameter(torch.empty(d_query))
        nn.init.xavier_uniform_(self.inner.weight)
        nn.init.normal_(self.v, std=d_query**-0.5)

    def forward(self, scores: Tensor, query: Tensor, step: Tensor, padding: Tensor) -> Tensor:
        length = (~padding).sum(1, keepdim=True)
        share = (self.inner(query).tanh() @ self.v).sigmoid()
        # Half types cannot tell positions of a long source apart.
        centre = length * share.to(torch.promote_types(share.dtype, torch.float32))
        distance = self.distance(centre - 1, scores)
        gaussian = torch.exp(-2 * (distance / self.radius) ** 2)
        return self.align_near(scores, distance, padding) * gaussian.to(scores.dtype)


class CoverageAttention(nn.Module):
    """Additive attention that reads where it has looked before (See et al., 2017, arXiv:1704.04368).

    a_t = softmax(v . tanh(W q_t + U k_i + w c_ti + b)), with the coverage c_t = sum_{t' < t} a_t'

    Steps wait for each other here, and nowhere else in a decoder whose queries do not read the context. Without w they
    do not wait.

    Args:
        d_query: width of the queries.
        d_memory: width of the encoder's states.
        d_score: width A inside the tanh.
        reads_coverage: whether there is a w; the coverage is summed in either case.
    """

    def __init__(self, d_query: int, d_memory: int, d_score: int, reads_coverage: bool = True) -> None:
        super().__init__()
        check_at_least(1, d_score=d_score)
        self.query = nn.Linear(d_query, d_score)
        self.key = nn.Linear(d_memory, d_score, bias=False)
        self.coverage = nn.Parameter(torch.randn(d_score) * d_score**-0.5) if reads_coverage else None
        self.v = nn.Parameter(torch.empty(d_score))
        nn.init.xavier_uniform_(self.query.weight)
        nn.init.zeros_(self.query.bias)
        nn.init.xavier_uniform_(self.key.weight)
        nn.init.normal_(self.v, std=d_score**-0.5)

    def keys(self, states: Tensor) -> Tensor:
        """Projected states, once a source: (B, S, D) -> (B, S, A)."""
        projected: Tensor = self.key(states)
        return projected

    @eager
    def forward(self, query: Tensor, keys: Tensor, padding: Tensor, coverage: Tensor) -> tuple[Tensor, Tensor]:
        """Go on from a coverage.

        Args:
            query: (B, T, Q).
            keys: (B, S, A).
            padding: (B, S), True at padding.
            coverage: (B, S), the sum of all weights before, in float32 at least.

        Returns:
            weights (B, T, S), 0 at padding, and the coverage after them.
        """
        if self.coverage is None:
            scores = (keys.unsqueeze(1) + self.query(query).unsqueeze(2)).tanh() @ self.v
            together = align(scores, padding)
            return together, coverage + single(together).sum(1)
        weights = []
        for q in self.query(query).split(1, 1):
            looked = (coverage.unsqueeze(-1) * self.coverage).to(keys.dtype)
            weights.append(align(((keys + q + looked).tanh() @ self.v).unsqueeze(1), padding))
            coverage = coverage + single(weights[-1].squeeze(1))
        return torch.cat(weights, 1), coverage
