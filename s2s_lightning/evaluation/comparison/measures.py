"""The measures that a comparison can be made by, and their names."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from s2s_lightning.errors import UserError, closest, did_you_mean
from s2s_lightning.evaluation.metrics import (
    ROUGE,
    TER,
    ChrF,
    ErrorRates,
    References,
    RougeTokenize,
    SacreBLEU,
    Statistics,
    SummedMetric,
    Texts,
    Tokenize,
    lower_is_better,
)


@dataclass(frozen=True)
class Measure:
    """One score of a metric.

    Args:
        title: as the literature writes it.
        metric: what computes it, and perhaps others beside it.
        key: its name among what the metric computes.
    """

    title: str
    metric: SummedMetric
    key: str

    @property
    def lower_is_better(self) -> bool:
        return lower_is_better(self.key)


MEASURES = {
    "bleu": "BLEU",
    "chrf": "chrF",
    "chrf++": "chrF++",
    "ter": "TER",
    "exact_match": "exact match",
    "token_error_rate": "token error rate",
    "sequence_error_rate": "sequence error rate",
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
    "rougeL": "ROUGE-L",
    "rougeLsum": "ROUGE-Lsum",
}
"""Name -> title."""

GROUPS = {
    "error_rates": ("exact_match", "token_error_rate", "sequence_error_rate"),
    "rouge": ("rouge1", "rouge2", "rougeL", "rougeLsum"),
    "all": tuple(MEASURES),
}
"""Short for several."""


def choose(
    names: Iterable[str], tokenize: Tokenize = "13a", rouge_tokenize: RougeTokenize = "rouge"
) -> dict[str, Measure]:
    """The measures of these names, in their order; ``tokenize`` is BLEU's.

    Raises:
        UserError: there is no measure of a name.
    """
    error_rates, rouge = ErrorRates(), ROUGE(tokenize=rouge_tokenize)
    metrics: dict[str, SummedMetric] = {
        "bleu": SacreBLEU(tokenize),
        "chrf": ChrF(),
        "chrf++": ChrF(word_order=2),
        "ter": TER(),
        **dict.fromkeys(GROUPS["error_rates"], error_rates),
        **dict.fromkeys(GROUPS["rouge"], rouge),
    }
    chosen = dict.fromkeys(full for name in names for full in _expand(name))
    return {name: Measure(MEASURES[name], metrics[name], name) for name in chosen}


def _expand(name: str) -> Sequence[str]:
    same = {known.lower(): known for known in (*MEASURES, *GROUPS)}
    if (known := same.get(name.lower())) is None:
        hint = did_you_mean(closest(name, same.values()))
        raise UserError(f"there is no metric {name!r}{hint or ': the metrics are ' + ', '.join(same.values())}")
    return GROUPS.get(known, (known,))


def statistics(measures: dict[str, Measure], hypotheses: Texts, references: References) -> dict[str, Statistics]:
    """The sufficient statistics of each measure by name; what computes several computes them once."""
    metrics = {id(measure.metric): measure.metric for measure in measures.values()}
    computed = {key: metric.statistics(hypotheses, references) for key, metric in metrics.items()}
    return {name: computed[id(measure.metric)][measure.key] for name, measure in measures.items()}
