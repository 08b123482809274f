"""A comparison as text: what tables it has, what its numbers mean; and all of it as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from s2s_lightning.comparison.breakdown import Bucket, Difference
from s2s_lightning.comparison.compare import Comparison, Result
from s2s_lightning.comparison.measures import Measure
from s2s_lightning.comparison.resampling import arrangements
from s2s_lightning.comparison.tables import Cell, Table, latex, markdown, markdown_text, terminal
from s2s_lightning.metrics import References, Texts

ALPHA = 0.05

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
        parts = [self._heading(), terminal(self._scores(), styled), "\n".join(self._notes())]
        for title, table in self._by_length():
            parts += [title, terminal(table, styled)]
        return "\n\n".join([*parts, *self._sentences()]) + "\n"

    def as_markdown(self) -> str:
        notes = "\n".join(f"- {markdown_text(note)}" for note in self._notes())
        parts = [markdown_text(self._heading()), markdown(self._scores(mark_best=False)), notes]
        for title, table in self._by_length():
            parts += [markdown_text(title), markdown(table)]
        parts += [_indented(text, 4) for text in self._sentences()]
        return "\n\n".join(parts) + "\n"

    def as_latex(self) -> str:
        """A row for each system and a column for each measure, as papers have it; needs the package booktabs."""
        parts = ["\n".join(f"% {note}" for note in [self._heading(), *self._notes()]) + "\n" + latex(self._wide())]
        parts += [f"% {title}\n{latex(table)}" for title, table in self._by_length()]
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

    def _scores(self, mark_best: bool = True) -> Table:
        """A group for each measure, with all that is known."""
        header = ["metric", "system", "seeds", "score", "±", "difference", "±", "p", ""]
        groups = [
            [
                _row(measure if not i else None, visible(system.name), result, is_best, mark_best)
                for i, (system, result, is_best) in enumerate(
                    zip(self.comparison.systems, results, best(measure, results), strict=True)
                )
            ]
            for measure, results in self._rows()
        ]
        return Table(header, groups, left=2)

    def _wide(self) -> Table:
        rows: list[list[Cell]] = [[Cell(visible(system.name))] for system in self.comparison.systems]
        for measure, results in self._rows():
            for row, result, is_best in zip(rows, results, best(measure, results), strict=True):
                spread = result.interval if result.deviation is None else result.deviation
                mark = "*" if significant(result) else ""
                row.append(
                    Cell(f"{result.score:.2f}" + (f" ± {spread:.2f}" if spread is not None else "") + mark, is_best)
                )
        return Table(["system", *(_title(measure) for measure, _ in self._rows())], [rows])

    def _rows(self) -> list[tuple[Measure, list[Result]]]:
        return [(measure, self.comparison.results[name]) for name, measure in self.comparison.measures.items()]

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
        width = max(len(measure.title) for measure in comparison.measures.values())
        signatures = comparison.signatures
        return notes + [f"{m.title:{width}}  {signatures[name]}" for name, m in comparison.measures.items()]

    def _by_length(self) -> list[tuple[str, Table]]:
        systems = [visible(system.name) for system in self.comparison.systems]
        tables = []
        for name, measure in self.comparison.measures.items() if self.buckets else ():
            rows = []
            for bucket in self.buckets:
                results = [Result(score, [score]) for score in bucket.scores[name]]
                scores = [Cell(f"{r.score:.2f}", b) for r, b in zip(results, best(measure, results), strict=True)]
                rows.append([Cell(_range(bucket)), Cell(f"{bucket.items:,}"), *scores])
            title = f"{_title(measure)} by the length of the {self.length_of}"
            tables.append((title, Table(["length", "lines", *systems], [rows])))
        return tables

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


def _row(measure: Measure | None, system: str, result: Result, is_best: bool, mark_best: bool) -> list[Cell]:
    """``measure`` stands in the first row of its group alone."""
    several = len(result.seeds) > 1
    spread = f"sd {result.deviation:.2f}" if result.deviation is not None else _number(result.interval)
    p = f"{result.p:.4f} {'*' if significant(result) else ' '}" if result.p is not None else ""
    texts = [
        str(len(result.seeds)) if several else "",
        spread,
        _number(result.difference, "+"),
        _number(result.difference_interval),
        p,
        "best" if is_best and mark_best else "",
    ]
    seeds, *rest = map(Cell, texts)
    first = Cell(_title(measure) if measure else "")
    return [first, Cell(system), seeds, Cell(f"{result.score:.2f}", is_best), *rest]


def best(measure: Measure, results: Sequence[Result]) -> list[bool]:
    """Whose score nobody beats; nobody's where there is no other."""
    top = (min if measure.lower_is_better else max)(result.score for result in results)
    return [len(results) > 1 and result.score == top for result in results]


def significant(result: Result) -> bool:
    return result.p is not None and result.p < ALPHA


def visible(text: str) -> str:
    """The text on one line, with nothing in it that would steer a terminal."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def _title(measure: Measure) -> str:
    return f"{measure.title} {'↓' if measure.lower_is_better else '↑'}"


def _number(value: float | None, sign: str = "") -> str:
    return "" if value is None else f"{value:{sign}.2f}"


def _range(bucket: Bucket) -> str:
    one = bucket.shortest == bucket.longest
    return f"{bucket.shortest}" if one else f"{bucket.shortest}-{bucket.longest}"


def _permutation_note(seeds: Sequence[int]) -> str:
    others = [other for other in dict.fromkeys(seeds[1:]) if seeds[0] > 1 or other > 1]
    limits = [f"{other} against {seeds[0]} cannot give p below {_least_p(seeds[0], other):.2g}" for other in others]
    return f"p of several seeds: permutation test of the seeds' scores; {', '.join(limits)}"


def _least_p(left: int, right: int) -> float:
    """Of the permutation test: where both have as many, the most extreme arrangement has an equal mirror image."""
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
