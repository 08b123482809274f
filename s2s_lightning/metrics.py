"""Scores of a corpus of texts. All rates are in percent; n-gram scores are sacreBLEU's own, with its signature."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any, Literal, NamedTuple

Texts = Sequence[str]
References = Sequence[Sequence[str]]
"""At least one right answer an item; items may have different numbers of them."""

Tokenize = Literal["13a", "intl", "char", "zh", "ja-mecab", "ko-mecab", "flores200", "none"]
"""sacreBLEU's tokenizers."""


class Score(NamedTuple):
    """A number, and the signature that says exactly how it was computed, for metrics that have one."""

    value: float
    signature: str = ""


class Metric(ABC):
    """Scores a corpus of hypotheses against its references. Settings are constructor arguments."""

    @abstractmethod
    def __call__(self, hypotheses: Texts, references: References) -> dict[str, Score]:
        """The scores by name. ``references[i]`` are the right answers to item i."""


class SacreBLEU(Metric):
    """``bleu`` as computed by sacreBLEU (Post, 2018, arXiv:1804.08771).

    Args:
        tokenize: sacreBLEU's tokenizer: 13a, intl, char, zh, ja-mecab, ko-mecab, flores200 or none.
        lowercase: ignore case.
    """

    def __init__(self, tokenize: Tokenize = "13a", lowercase: bool = False) -> None:
        self.tokenize = tokenize
        self.lowercase = lowercase

    def __call__(self, hypotheses: Texts, references: References) -> dict[str, Score]:
        from sacrebleu.metrics.bleu import BLEU

        # force: without it, text that is tokenized on purpose earns a warning at each validation.
        return {"bleu": _sacre(BLEU(self.lowercase, force=True, tokenize=self.tokenize), hypotheses, references)}


class ChrF(Metric):
    """``chrf``, the F-score of character n-grams (Popovic, 2015), as computed by sacreBLEU.

    Args:
        word_order: the longest word n-gram; 0 is chrF, 2 is chrF++.
    """

    def __init__(self, word_order: int = 0) -> None:
        self.word_order = word_order

    def __call__(self, hypotheses: Texts, references: References) -> dict[str, Score]:
        from sacrebleu.metrics.chrf import CHRF

        return {"chrf": _sacre(CHRF(word_order=self.word_order), hypotheses, references)}


class ErrorRates(Metric):
    """Exact match and error rates of white-space separated tokens against the closest reference.

    ``exact_match``: hypotheses equal to a reference. ``token_error_rate``: substitutions, insertions and deletions over
    reference tokens (the phoneme or word error rate of the speech literature). ``sequence_error_rate``: items with at
    least one token wrong. Of references at equal distance the first counts.
    """

    def __call__(self, hypotheses: Texts, references: References) -> dict[str, Score]:
        closest = [_closest(*item) for item in zip(hypotheses, references, strict=True)]
        errors, tokens = (sum(column) for column in zip(*closest, strict=True))
        exact = sum(hypothesis in right for hypothesis, right in zip(hypotheses, references, strict=True))
        wrong = sum(distance > 0 for distance, _ in closest)
        return {
            "exact_match": Score(100 * exact / len(closest)),
            "token_error_rate": Score(100 * errors / max(1, tokens)),
            "sequence_error_rate": Score(100 * wrong / len(closest)),
        }


def default_metrics(tokenize: Tokenize = "13a") -> list[Metric]:
    """What each evaluation computes; ``tokenize`` is BLEU's."""
    return [ErrorRates(), SacreBLEU(tokenize), ChrF()]


def corpus_scores(
    hypotheses: Texts, references: References, metrics: Iterable[Metric] | None = None
) -> dict[str, Score]:
    """The scores of all the metrics (the default ones) by name, of a corpus of at least one item."""
    chosen = default_metrics() if metrics is None else metrics
    return {name: score for metric in chosen for name, score in metric(hypotheses, references).items()}


def _sacre(metric: Any, hypotheses: Texts, references: References) -> Score:
    # sacreBLEU wants one stream per reference number, None where an item has fewer.
    value = metric.corpus_score(hypotheses, list(zip_longest(*references))).score
    return Score(value, str(metric.get_signature()))


def _closest(hypothesis: str, references: Sequence[str]) -> tuple[int, int]:
    """The edit distance to the closest reference, and the tokens of that reference."""
    from rapidfuzz.distance import Levenshtein

    said, right = hypothesis.split(), [reference.split() for reference in references]
    return min(((Levenshtein.distance(said, tokens), len(tokens)) for tokens in right), key=lambda pair: pair[0])
