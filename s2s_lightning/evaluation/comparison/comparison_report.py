"""A comparison as a document: tables, and what their numbers mean; or all of it as JSON."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from s2s_lightning.evaluation.comparison.bootstrap import arrangements
from s2s_lightning.evaluation.comparison.breakdown import Bucket, Difference
from s2s_lightning.evaluation.comparison.measures import Measure
from s2s_lightning.evaluation.comparison.systems import Comparison
from s2s_lightning.evaluation.comparison.tables import Table, latex, markdown, markdown_text, terminal
from s2s_lightning.evaluation.comparison.views import ALPHA, by_measure, by_system, length_tables, significant, visible
from s2s_lightning.evaluation.metrics import ROUGE, References, SacreBLEU, Texts

UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
"""Letters of scripts that write few spaces or none: Thai, Lao, Burmese, Khmer, Japanese, Chinese; and Korean."""

TESTS = {"bs": "paired bootstrap", "ar": "approximate randomization"}


@dataclass(frozen=True)
class Report:
    """A comparison, what it was made of, and what was asked for besides.

    Attributes:
        sources: the source texts, if they are given.
        length_of: whose length the buckets are of, and in what unit.
    """

    comparison: Comparison
    references: References
    reference_files: Sequence[str]
    sources: Texts | None = None
    source_file: str | None = None
    buckets: Sequence[Bucket] = ()
    length_of: str = ""
    differences: Sequence[Difference] = ()

    def as_terminal(self, styled: bool) -> str:
        parts = [self._heading(), terminal(by_measure(self.comparison), styled), "\n".join(self._notes())]
        for title, table in self._lengths():
            parts += [title, terminal(table, styled)]
        return "\n\n".join([*parts, *self._sentences()]) + "\n"

    def as_markdown(self) -> str:
        notes = "\n".join(f"- {markdown_text(note)}" for note in self._notes())
        parts = [markdown_text(self._heading()), markdown(by_measure(self.comparison, mark_best=False)), notes]
        for title, table in self._lengths():
            parts += [markdown_text(title), markdown(table)]
        parts += [_indented(text, 4) for text in self._sentences()]
        return "\n\n".join(parts) + "\n"

    def as_latex(self) -> str:
        """A row for each system and a column for each measure, as papers have it; needs the package booktabs."""
        parts = [
            "\n".join(f"% {note}" for note in [self._heading(), *self._notes()])
            + "\n"
            + latex(by_system(self.comparison))
        ]
        parts += [f"% {title}\n{latex(table)}" for title, table in self._lengths()]
        return "\n\n".join(parts) + "\n"

    def as_json(self) -> str:
        """Everything, unrounded."""
        comparison, resampling = self.comparison, self.comparison.resampling
        content = {
            "lines": len(self.references),
            "references": list(self.reference_files),
            "sources": self.source_file,
            "resampling": {**asdict(resampling), "resamples": resampling.resamples, "alpha": ALPHA},
            "metrics": {
                name: {"signature": comparison.signatures[name], "lower_is_better": measure.lower_is_better}
                for name, measure in comparison.measures.items()
            },
            "systems": [
                {
                    "name": system.name,
                    "files": list(system.files),
                    "scores": {name: asdict(results[i]) for name, results in comparison.results.items()},
                }
                for i, system in enumerate(comparison.systems)
            ],
            "by_length": {"of": self.length_of, "ranges": [asdict(bucket) for bucket in self.buckets]},
            "differences": [self._as_dict(difference) for difference in self.differences],
        }
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"

    def _heading(self) -> str:
        names, files = [system.name for system in self.comparison.systems], self.reference_files
        references = f"{len(files)} reference{'s' if len(files) > 1 else ''} ({', '.join(files)})"
        baseline = f", baseline {names[0]}" if len(names) > 1 else ""
        return visible(f"{len(self.references):,} lines, {references}{baseline}")

    def _notes(self) -> list[str]:
        comparison, resampling = self.comparison, self.comparison.resampling
        results = [result for row in comparison.results.values() for result in row]
        used = {result.p_test for result in results}
        seed = f"seed {resampling.seed}" if resampling.seed is not None else "no fixed seed"
        notes = []
        if any(result.interval is not None for result in results):
            notes.append(
                f"±: half the width of the 95 % interval, bootstrap of {resampling.resamples:,} resamples, {seed}"
            )
        if any(result.deviation is not None for result in results):
            notes.append("sd: sample standard deviation over the seeds, whose mean the score is")
        if any(map(significant, results)):
            notes.append(f"*: p < {ALPHA} against the baseline, two-sided, not corrected for several comparisons")
        if resampling.test in used:
            notes.append(f"p: {TESTS[resampling.test]}, {resampling.samples:,} samples, {seed}")
        if "permutation" in used:
            notes.append(_permutation_note([len(system.outputs) for system in comparison.systems]))
        notes += script_notes(comparison.measures.values(), self.references)
        width = max(len(measure.title) for measure in comparison.measures.values())
        signatures = comparison.signatures
        return notes + [f"{m.title:{width}}  {signatures[name]}" for name, m in comparison.measures.items()]

    def _lengths(self) -> list[tuple[str, Table]]:
        return length_tables(self.comparison, self.buckets, self.length_of) if self.buckets else []

    def _sentences(self) -> list[str]:
        """The items that differ most, each a block of aligned lines."""
        seeds = [", seed 1" if len(system.outputs) > 1 else "" for system in self.comparison.systems]
        return [_block(self._as_dict(difference), seeds) for difference in self.differences]

    def _as_dict(self, difference: Difference) -> dict[str, Any]:
        item, systems = difference.item, self.comparison.systems
        return {
            "line": item + 1,
            "source": self.sources[item] if self.sources is not None else None,
            "references": list(self.references[item]),
            "outputs": [
                {"system": system.name, "chrf": chrf, "text": system.outputs[0][item]}
                for system, chrf in zip(systems, difference.chrf, strict=True)
            ],
        }


def _permutation_note(seeds: Sequence[int]) -> str:
    others = [other for other in dict.fromkeys(seeds[1:]) if seeds[0] > 1 or other > 1]
    limits = [f"{other} against {seeds[0]} cannot give p below {_least_p(seeds[0], other):.2g}" for other in others]
    return f"p of several seeds: permutation test of the seeds' scores; {', '.join(limits)}"


def _least_p(left: int, right: int) -> float:
    """Return the smallest p-value of the permutation test. Of two equally long systems the most extreme arrangement has
    an equal mirror image.
    """
    return (2 if left == right else 1) / arrangements(left, right)


def _block(difference: dict[str, Any], seeds: Sequence[str]) -> str:
    outputs = difference["outputs"]
    texts = [("source", "", difference["source"])] if difference["source"] is not None else []
    texts += [("reference", "", text) for text in difference["references"]]
    names = [visible(each["system"]) + seed for each, seed in zip(outputs, seeds, strict=True)]
    texts += [(name, f"{each['chrf']:.1f}", each["text"]) for name, each in zip(names, outputs, strict=True)]
    width = max(len(name) for name, *_ in texts)
    lines = [f"  {name:{width}}  {chrf:>5}  {visible(text)}" for name, chrf, text in texts]
    chrfs = [each["chrf"] for each in outputs]
    return "\n".join([f"line {difference['line']:,}: {max(chrfs) - min(chrfs):.1f} chrF apart", *lines])


def _indented(text: str, by: int) -> str:
    return "\n".join(" " * by + line for line in text.splitlines())


def script_notes(measures: Iterable[Measure], references: References) -> list[str]:
    """Return hints for references in a script that a measure's tokenizer does not know: they would score 0."""
    metrics = {id(measure.metric): measure.metric for measure in measures}.values()
    first = [right[0] for right in references if right[0].strip()]
    notes = []
    if any(isinstance(metric, ROUGE) and metric.tokenize == "rouge" for metric in metrics):
        unknown = sum(not re.search("[a-z0-9]", text.lower()) for text in first)
        if unknown:
            notes.append(
                f"ROUGE: {unknown:,} references have none of the letters a to z and digits, and score 0; "
                "--rouge_tokenize split takes words between white space"
            )
    if any(isinstance(metric, SacreBLEU) and metric.tokenize in ("13a", "none") for metric in metrics):
        short = sum(len(text.split()) < 4 and bool(UNSPACED.search(text)) for text in first)
        if short:
            notes.append(
                f"BLEU: {short:,} references are in a script without spaces, so that each is a word or two; "
                "take --tokenize zh, ja-mecab, ko-mecab, flores200 or char"
            )
    return notes
