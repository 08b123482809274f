"""The tables of a comparison."""

from collections.abc import Sequence

from s2s_lightning.evaluation.comparison.breakdown import Bucket
from s2s_lightning.evaluation.comparison.measures import Measure
from s2s_lightning.evaluation.comparison.systems import Comparison, Result
from s2s_lightning.evaluation.comparison.tables import Cell, Table

ALPHA = 0.05


def by_measure(comparison: Comparison, mark_best: bool = True) -> Table:
    """A group of rows for each measure, a row a system, with all that is known."""
    header = ["metric", "system", "seeds", "score", "±", "difference", "±", "p", ""]
    groups = []
    for name, measure in comparison.measures.items():
        results = comparison.results[name]
        titles = [_title(measure), *[""] * (len(results) - 1)]
        columns = zip(titles, comparison.systems, results, best(measure, results), strict=True)
        groups.append(
            [
                [Cell(title), Cell(visible(system.name)), *_cells(result, is_best, mark_best)]
                for title, system, result, is_best in columns
            ]
        )
    return Table(header, groups, left=2)


def _cells(result: Result, is_best: bool, mark_best: bool) -> list[Cell]:
    return [
        Cell(str(len(result.seeds)) if len(result.seeds) > 1 else ""),
        Cell(_number(result.score), is_best),
        Cell(_number(result.interval) if result.deviation is None else f"sd {result.deviation:.2f}"),
        Cell(_number(result.difference, "+")),
        Cell(_number(result.difference_interval)),
        Cell("" if result.p is None else f"{result.p:.4f} {'*' if significant(result) else ' '}"),
        Cell("best" if is_best and mark_best else ""),
    ]


def by_system(comparison: Comparison) -> Table:
    """A row for each system, a column for each measure."""
    rows: list[list[Cell]] = [[Cell(visible(system.name))] for system in comparison.systems]
    for name, measure in comparison.measures.items():
        results = comparison.results[name]
        for row, result, is_best in zip(rows, results, best(measure, results), strict=True):
            after = f" ± {result.interval:.2f}" if result.interval is not None else ""
            if result.deviation is not None:
                after = f" (sd {result.deviation:.2f})"
            row.append(Cell(f"{result.score:.2f}{after}{'*' if significant(result) else ''}", is_best))
    return Table(["system", *map(_title, comparison.measures.values())], [rows])


def length_tables(comparison: Comparison, buckets: Sequence[Bucket], length_of: str) -> list[tuple[str, Table]]:
    """A title and a table for each measure: a row a bucket, a column a system."""
    header = ["length", "lines", *(visible(system.name) for system in comparison.systems)]
    tables = []
    for name, measure in comparison.measures.items():
        rows = []
        for bucket in buckets:
            results = [Result(score, [score]) for score in bucket.scores[name]]
            scores = [Cell(_number(r.score), b) for r, b in zip(results, best(measure, results), strict=True)]
            rows.append([Cell(_range(bucket)), Cell(f"{bucket.items:,}"), *scores])
        tables.append((f"{_title(measure)} by the length of the {length_of}", Table(header, [rows])))
    return tables


def best(measure: Measure, results: Sequence[Result]) -> list[bool]:
    """True for each system whose score no other beats; False for one that stands alone."""
    top = (min if measure.lower_is_better else max)(result.score for result in results)
    return [len(results) > 1 and result.score == top for result in results]


def significant(result: Result) -> bool:
    """True if a difference exists and is significant: sacreBLEU's p of two equal systems is the smallest possible."""
    return result.p is not None and result.p < ALPHA and result.difference != 0


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
