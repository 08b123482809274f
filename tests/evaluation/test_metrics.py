"""Metrics against sacreBLEU itself and against slow references."""

import itertools
import random
from collections import Counter
from collections.abc import Sequence
from operator import itemgetter

import pytest
import sacrebleu
from rouge_score.rouge_scorer import RougeScorer

from s2s_lightning.errors import UserError
from s2s_lightning.evaluation.metrics import (
    ROUGE,
    TER,
    ChrF,
    ErrorRates,
    Metric,
    SacreBLEU,
    Score,
    SummedMetric,
    corpus_scores,
    default_metrics,
    lower_is_better,
)

HYPOTHESES = ["the cat sat on the mat .", "", "a dog | barks", "Überraschung «hier»", "same words here today"]
REFERENCES = [
    ["the cat sat on a mat .", "a cat was sitting on the mat ."],
    ["nothing was said"],
    ["a dog barks", "the dog barks", "one dog is barking"],
    ["Eine Überraschung «hier»"],
    ["same words here today"],
]
STREAMS = [[refs[n] if n < len(refs) else None for refs in REFERENCES] for n in range(3)]


def test_bleu_and_chrf_are_those_of_sacrebleu_to_the_digit() -> None:
    scores = corpus_scores(HYPOTHESES, REFERENCES)
    assert scores["bleu"].value == sacrebleu.corpus_bleu(HYPOTHESES, STREAMS).score
    assert scores["chrf"].value == sacrebleu.corpus_chrf(HYPOTHESES, STREAMS).score


def test_options_reach_sacrebleu_and_its_signature() -> None:
    bleu = SacreBLEU(tokenize="char", lowercase=True)(HYPOTHESES, REFERENCES)["bleu"]
    assert bleu.value == sacrebleu.corpus_bleu(HYPOTHESES, STREAMS, tokenize="char", lowercase=True).score
    assert "tok:char" in bleu.signature
    assert "case:lc" in bleu.signature
    chrf = ChrF(word_order=2)(HYPOTHESES, REFERENCES)["chrf++"]
    assert chrf.value == sacrebleu.corpus_chrf(HYPOTHESES, STREAMS, word_order=2).score
    assert "nw:2" in chrf.signature


def test_ter_is_that_of_sacrebleu_to_the_digit_with_its_options() -> None:
    assert TER()(HYPOTHESES, REFERENCES)["ter"].value == sacrebleu.corpus_ter(HYPOTHESES, STREAMS).score
    ter = TER(case_sensitive=True, normalized=True, no_punct=True, asian_support=True)(HYPOTHESES, REFERENCES)["ter"]
    options = {"case_sensitive": True, "normalized": True, "no_punct": True, "asian_support": True}
    assert ter.value == sacrebleu.corpus_ter(HYPOTHESES, STREAMS, **options).score
    assert "case:mixed|tok:tercom|norm:yes|punct:no|asian:yes" in ter.signature


def f1(hits: int, said: int, right: int) -> float:
    """The harmonic mean of hits/said and hits/right."""
    return 2 * hits / (said + right) if hits else 0.0


def common(left: Sequence[str], right: Sequence[str]) -> int:
    """The length of a longest common subsequence, by trying every part."""
    if not left or not right:
        return 0
    if left[0] == right[0]:
        return 1 + common(left[1:], right[1:])
    return max(common(left[1:], right), common(left, right[1:]))


def test_rouge_is_the_best_f1_over_the_references_by_its_definition() -> None:
    def pairs(words: list[str]) -> list[tuple[str, str]]:
        return list(itertools.pairwise(words))

    def overlap(said: list[object], right: list[object]) -> float:
        return f1((Counter(said) & Counter(right)).total(), len(said), len(right))

    scores = ROUGE(tokenize="split")(HYPOTHESES, REFERENCES)
    expected: dict[str, list[float]] = {"rouge1": [], "rouge2": [], "rougeL": []}
    for hypothesis, right in zip(HYPOTHESES, REFERENCES, strict=True):
        said, answers = hypothesis.split(), [reference.split() for reference in right]
        expected["rouge1"].append(max(overlap([*said], [*answer]) for answer in answers))
        expected["rouge2"].append(max(overlap([*pairs(said)], [*pairs(answer)]) for answer in answers))
        expected["rougeL"].append(max(f1(common(said, answer), len(said), len(answer)) for answer in answers))
    for name, values in expected.items():
        assert scores[name].value == pytest.approx(100 * sum(values) / len(values), abs=1e-10)


def test_rouge_as_published_knows_ascii_alone_and_the_stemmer_is_an_option() -> None:
    assert ROUGE()(["Ελλάδα"], [["Ελλάδα"]])["rouge1"].value == 0
    assert ROUGE(tokenize="split")(["Ελλάδα"], [["Ελλάδα"]])["rouge1"].value == 100
    assert ROUGE()(["barking Dogs"], [["barked dog"]])["rouge1"].value == 0
    assert ROUGE(stemmer=True)(["barking Dogs"], [["barked dog"]])["rouge1"].value == 100


def test_statistics_of_some_items_score_them_as_a_corpus() -> None:
    some = [0, 2, 2, 4]
    for metric in [*default_metrics(), TER(), ROUGE()]:
        assert isinstance(metric, SummedMetric)
        part = metric([HYPOTHESES[i] for i in some], [REFERENCES[i] for i in some])
        for name, statistics in metric.statistics(HYPOTHESES, REFERENCES).items():
            assert statistics.value(some) == part[name].value


def test_the_signature_counts_the_references() -> None:
    assert "nrefs:var" in corpus_scores(HYPOTHESES, REFERENCES)["bleu"].signature
    assert "nrefs:1" in corpus_scores(["a"], [["a"]])["bleu"].signature


def test_a_corpus_of_empty_hypotheses_scores_zero_and_every_token_wrong() -> None:
    scores = {name: score.value for name, score in corpus_scores(["", ""], [["a b"], ["c"]]).items()}
    assert scores["bleu"] == scores["chrf"] == scores["exact_match"] == 0
    assert scores["token_error_rate"] == scores["sequence_error_rate"] == 100


def slow_distance(left: Sequence[str], right: Sequence[str]) -> int:
    """Levenshtein's recurrence over the whole table."""
    table = [[i + j if i * j == 0 else 0 for j in range(len(right) + 1)] for i in range(len(left) + 1)]
    for i, x in enumerate(left, 1):
        for j, y in enumerate(right, 1):
            table[i][j] = min(table[i - 1][j] + 1, table[i][j - 1] + 1, table[i - 1][j - 1] + (x != y))
    return table[-1][-1]


def test_token_error_rate_is_the_edit_distance_to_the_closest_reference() -> None:
    draw = random.Random(0)

    def text() -> str:
        return " ".join(draw.choices("abcd", k=draw.randrange(1, 8)))

    hypotheses = [text() for _ in range(50)]
    references = [[text() for _ in range(draw.randrange(1, 4))] for _ in range(50)]
    closest = [
        min(
            ((slow_distance(hypothesis.split(), right.split()), len(right.split())) for right in refs),
            key=itemgetter(0),
        )
        for hypothesis, refs in zip(hypotheses, references, strict=True)
    ]
    expected = 100 * sum(distance for distance, _ in closest) / sum(length for _, length in closest)
    scores = ErrorRates()(hypotheses, references)
    assert scores["token_error_rate"].value == pytest.approx(expected, abs=1e-12)
    assert scores["sequence_error_rate"].value == 2 * sum(distance > 0 for distance, _ in closest)


def test_any_reference_is_a_right_answer() -> None:
    scores = ErrorRates()(["b", "b"], [["a", "b"], ["a", "c"]])
    assert scores["exact_match"].value == 50


def test_a_metric_of_the_user_stands_beside_the_others() -> None:
    class Length(Metric):
        def __call__(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, Score]:
            return {"length": Score(sum(map(len, hypotheses)))}

    assert corpus_scores(["ab"], [["a"]], [ErrorRates(), Length()])["length"].value == 2


def test_no_metric_replaces_the_score_of_another() -> None:
    hypotheses, references = ["the cat sat on a mat"], [["the cat sat on the mat"]]
    alone = corpus_scores(hypotheses, references)
    more = corpus_scores(hypotheses, references, [*default_metrics(), ChrF(word_order=2), SacreBLEU("char")])
    assert set(more) == {*alone, "chrf++", "bleu_char"}
    assert all(more[name] == alone[name] for name in alone)
    with pytest.raises(UserError, match="two metrics give the score chrf"):
        corpus_scores(hypotheses, references, [ChrF(), ChrF()])


class WordErrors(Metric):
    """A metric of a user's."""

    lower_is_better = ("my_errors",)

    def __call__(self, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, Score]:
        return {"my_errors": Score(1.0)}


@pytest.mark.parametrize("name", ["val/wer", "cer", "nll", "val/my_errors", "test/ter", "loss", "val/perplexity"])
def test_what_is_an_error_or_says_so_is_better_when_lower(name: str) -> None:
    assert lower_is_better(name)


@pytest.mark.parametrize("name", ["val/bleu", "answer", "chrf++", "rougeLsum", "val/paper"])
def test_all_else_is_better_when_higher(name: str) -> None:
    assert not lower_is_better(name)


def test_rouge_of_several_lines_is_that_of_the_package() -> None:
    hypothesis = "police arrested two men on sunday .\nthe men had stolen a red car ."
    reference = "two men stole a red car .\nthey were arrested by police on sunday ."
    expected = RougeScorer(["rougeLsum"], True).score(reference, hypothesis)["rougeLsum"].fmeasure * 100
    assert ROUGE(stemmer=True)([hypothesis], [[reference]])["rougeLsum"].value == expected
