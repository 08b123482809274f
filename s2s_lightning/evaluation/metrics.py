"""Scores of a corpus of texts. All rates are in percent; n-gram scores are sacreBLEU's own, with its signature."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce
from itertools import zip_longest
from operator import add
from typing import Any, ClassVar, Literal, NamedTuple

from s2s_lightning import __version__
from s2s_lightning.errors import UserError

Texts = Sequence[str]
References = Sequence[Sequence[str]]
"""At least one right answer an item; items may have different numbers of them."""

Tokenize = Literal["13a", "intl", "char", "zh", "ja-mecab", "ko-mecab", "flores200", "none"]
"""sacreBLEU's tokenizers."""

RougeTokenize = Literal["rouge", "split"]


LOWER = {"ter", "wer", "cer", "per", "nll", "mse", "mae", "edit_distance"}
"""Names that the field knows to be better when lower, whoever computes them."""


class Score(NamedTuple):
    """A number, and the signature that says exactly how it was computed, for metrics that have one."""

    value: float
    signature: str = ""


class Statistics(NamedTuple):
    """Sufficient statistics: what each item adds to sums that the score is a function of.

    Any part of the corpus and any resample of it can be scored from them without looking at a text again.

    Attributes:
        rows: a row of k numbers for each item.
        score: of the k sums over some items.
        signature: as in ``Score``.
    """

    rows: Sequence[Sequence[float]]
    score: Callable[[Any], float]
    signature: str = ""

    def value(self, items: Iterable[int] | None = None) -> float:
        """The score of these items (all of them)."""
        rows = self.rows if items is None else [self.rows[item] for item in items]
        # one addition after the other, as sacreBLEU does; the built-in sum compensates for rounding since Python 3.12
        return float(self.score([reduce(add, column) for column in zip(*rows, strict=True)]))


class Metric(ABC):
    """Scores a corpus of hypotheses against its references. Settings are constructor arguments.

    Attributes:
        lower_is_better: names of those of its scores of which a lower value is better.
        variant: told behind the name of a score where another metric of the run has that name already.
    """

    lower_is_better: ClassVar[tuple[str, ...]] = ()
    variant = ""

    @abstractmethod
    def __call__(self, hypotheses: Texts, references: References) -> dict[str, Score]:
        """The scores by name. ``references[i]`` are the right answers to item i."""


class SummedMetric(Metric):
    """A metric whose scores are functions of sums over the items: significance tests can resample it."""

    @abstractmethod
    def statistics(self, hypotheses: Texts, references: References) -> dict[str, Statistics]:
        """The sufficient statistics of each score by name."""

    def __call__(self, hypotheses: Texts, references: References) -> dict[str, Score]:
        statistics = self.statistics(hypotheses, references)
        return {name: Score(each.value(), each.signature) for name, each in statistics.items()}


class SacreBLEU(SummedMetric):
    """``bleu`` as computed by sacreBLEU (Post, 2018, arXiv:1804.08771).

    Args:
        tokenize: sacreBLEU's tokenizer: 13a, intl, char, zh, ja-mecab, ko-mecab, flores200 or none.
        lowercase: ignore case.
    """

    def __init__(self, tokenize: Tokenize = "13a", lowercase: bool = False) -> None:
        self.tokenize = tokenize
        self.lowercase = lowercase
        self.variant = f"{tokenize}_lowercase" if lowercase else tokenize

    def statistics(self, hypotheses: Texts, references: References) -> dict[str, Statistics]:
        from sacrebleu.metrics.bleu import BLEU

        try:  # force: without it, text that is tokenized on purpose earns a warning at each validation
            bleu = BLEU(self.lowercase, force=True, tokenize=self.tokenize)
        except (RuntimeError, ImportError) as error:
            raise UserError(f"BLEU's tokenizer {self.tokenize} cannot be used here: {error}") from error
        return {"bleu": _sacre(bleu, hypotheses, references)}


class ChrF(SummedMetric):
    """``chrf`` or ``chrf++``, the F-score of character n-grams (Popovic, 2015), as computed by sacreBLEU.

    Args:
        word_order: the longest word n-gram; 0 is chrF, 2 is chrF++.
    """

    def __init__(self, word_order: int = 0) -> None:
        self.word_order = word_order
        self.name = {0: "chrf", 2: "chrf++"}.get(word_order, f"chrf_w{word_order}")

    def statistics(self, hypotheses: Texts, references: References) -> dict[str, Statistics]:
        from sacrebleu.metrics.chrf import CHRF

        return {self.name: _sacre(CHRF(word_order=self.word_order), hypotheses, references)}


class TER(SummedMetric):
    """``ter``, the translation edit rate (Snover et al., 2006), as computed by sacreBLEU; it takes its time.

    Edits, among them shifts of phrases, over the mean length of an item's references. Lower is better.

    Args:
        case_sensitive: do not ignore case, as TER does by default.
        normalized: tokenize punctuation apart, and undo XML's escapes.
        no_punct: leave punctuation out.
        asian_support: for the two above, know Chinese and Japanese characters.
    """

    def __init__(
        self,
        case_sensitive: bool = False,
        normalized: bool = False,
        no_punct: bool = False,
        asian_support: bool = False,
    ) -> None:
        self.case_sensitive = case_sensitive
        self.normalized = normalized
        self.no_punct = no_punct
        self.asian_support = asian_support

    def statistics(self, hypotheses: Texts, references: References) -> dict[str, Statistics]:
        from sacrebleu.metrics.ter import TER as SacreTER  # noqa: N811  of the same name as ours

        ter = SacreTER(self.normalized, self.no_punct, self.asian_support, self.case_sensitive)
        return {"ter": _sacre(ter, hypotheses, references)}


class ErrorRates(SummedMetric):
    """Exact match and error rates of white-space separated tokens against the closest reference.

    ``exact_match``: hypotheses equal to a reference. ``token_error_rate``: substitutions, insertions and deletions over
    reference tokens (the phoneme or word error rate of the speech literature). ``sequence_error_rate``: items with at
    least one token wrong. Of references at equal distance the first counts.
    """

    def statistics(self, hypotheses: Texts, references: References) -> dict[str, Statistics]:
        signature = f"{_count(references)}|case:mixed|tok:split|ref:closest|version:s2s_lightning-{__version__}"
        items = list(zip(hypotheses, references, strict=True))
        closest = [_closest(*item) for item in items]
        rows: dict[str, list[list[float]]] = {
            "exact_match": [[hypothesis in right, 1] for hypothesis, right in items],
            "token_error_rate": [list(pair) for pair in closest],
            "sequence_error_rate": [[distance > 0, 1] for distance, _ in closest],
        }
        return {name: Statistics(each, _percent, signature) for name, each in rows.items()}


class ROUGE(SummedMetric):
    """``rouge1``, ``rouge2``, ``rougeL``, ``rougeLsum``: F1 of words, their pairs, common subsequences (Lin, 2004).

    Means over the items of what the package rouge-score computes, which follows ROUGE-1.5.5; of several references the
    one with the best F1 counts. ``rougeL`` takes a text as one sequence. ``rougeLsum`` unites the matches of its lines,
    as papers on summaries of several sentences do, with ``stemmer``.

    Args:
        stemmer: strip English suffixes (Porter).
        tokenize: "rouge" lowercases and knows the letters a to z and digits alone: text in any other script scores 0.
            "split" splits at white space.
    """

    def __init__(self, stemmer: bool = False, tokenize: RougeTokenize = "rouge") -> None:
        self.stemmer = stemmer
        self.tokenize = tokenize

    def statistics(self, hypotheses: Texts, references: References) -> dict[str, Statistics]:
        from importlib.metadata import version

        from rouge_score.rouge_scorer import RougeScorer

        kinds = ("rouge1", "rouge2", "rougeL", "rougeLsum")
        scorer = RougeScorer(kinds, self.stemmer, tokenizer=_Split() if self.tokenize == "split" else None)
        scores = [scorer.score_multi(right, text) for text, right in zip(hypotheses, references, strict=True)]
        stem = "yes" if self.stemmer else "no"
        tail = f"tok:{self.tokenize}|stem:{stem}|ref:best|version:rouge-score-{version('rouge-score')}"
        signature = f"{_count(references)}|{tail}"
        return {kind: Statistics([[s[kind].fmeasure, 1] for s in scores], _percent, signature) for kind in kinds}


class _Split:
    """White space alone separates words, for rouge-score."""

    def tokenize(self, text: str) -> list[str]:
        return text.split()


def default_metrics(tokenize: Tokenize = "13a") -> list[Metric]:
    """Return the metrics of each evaluation; ``tokenize`` is BLEU's."""
    return [ErrorRates(), SacreBLEU(tokenize), ChrF()]


def corpus_scores(
    hypotheses: Texts, references: References, metrics: Iterable[Metric] | None = None
) -> dict[str, Score]:
    """The scores of all the metrics (the default ones) by name, of a corpus of at least one item."""
    scores: dict[str, Score] = {}
    for metric in default_metrics() if metrics is None else metrics:
        for name, score in metric(hypotheses, references).items():
            full = f"{name}_{metric.variant}" if name in scores and metric.variant else name
            if full in scores:
                raise UserError(f"two metrics give the score {full}: leave one of the {type(metric).__name__} out")
            scores[full] = score
    return scores


def lower_is_better(name: str) -> bool:
    """True for losses, perplexities, error rates and what a metric declares so; ``val/`` may stand before the name."""
    last = name.split("/")[-1]
    declared = {each for metric in _below(Metric) for each in metric.lower_is_better}  # type: ignore[type-abstract]
    return last in declared | LOWER or last.endswith(("loss", "ppl", "error_rate", "perplexity"))


def _below(base: type[Metric]) -> Iterator[type[Metric]]:
    yield base
    for cls in base.__subclasses__():
        yield from _below(cls)


def _sacre(metric: Any, hypotheses: Texts, references: References) -> Statistics:
    # sacreBLEU wants one stream per reference number, None where an item has fewer. The two methods are those that its
    # own significance tests call on a metric.
    rows = metric._extract_corpus_statistics(hypotheses, list(zip_longest(*references)))
    return Statistics(rows, lambda sums: metric._compute_score_from_stats(sums).score, str(metric.get_signature()))


def _percent(sums: Sequence[float]) -> float:
    """100 times the first sum over the second; of nothing, as if it were one."""
    return 100 * sums[0] / max(1, sums[1])


def _count(references: References) -> str:
    """The references of an item as sacreBLEU's signatures have them."""
    counts = set(map(len, references))
    return f"nrefs:{counts.pop() if len(counts) == 1 else 'var'}"


def _closest(hypothesis: str, references: Sequence[str]) -> tuple[int, int]:
    """The edit distance to the closest reference, and the tokens of that reference."""
    from rapidfuzz.distance import Levenshtein

    said, right = hypothesis.split(), [reference.split() for reference in references]
    return min(((Levenshtein.distance(said, tokens), len(tokens)) for tokens in right), key=lambda pair: pair[0])
