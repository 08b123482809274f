"""Report of several seeds: a table with mean and deviation, and the command that compares them with another system."""

import csv
import json
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean, stdev

from s2s_lightning import PROGRAM
from s2s_lightning.experiments.jobs.columns import aligned, markdown, shown
from s2s_lightning.experiments.seeds.group import Group, Seed
from s2s_lightning.files import write_whole
from s2s_lightning.runs.results import Result, result

Found = dict[int, Result]
"""The results of the finished seeds, by number."""


def report(group: Group) -> str:
    """Write ``table.md``, ``table.csv`` and the references into the folder; the text for the terminal."""
    found = {seed.number: got for seed in group.seeds if seed.finished and (got := result(seed.folder))}
    left = " ".join(str(seed.number) for seed in group.left)
    lines = [f"not finished: seed {left}"] if left else []
    if not found:
        return "\n".join(["no seed has a result yet", *lines])
    head, body = cells(found)
    write_whole(group.folder / "table.md", markdown(head, body))
    write_csv(group.folder / "table.csv", found)
    monitor = next(iter(found.values())).monitor
    note = f"of the best checkpoint by {monitor}"
    if len(found) > 1:
        note += f"; sd: sample standard deviation (n - 1) of {len(found)} seeds"
    return "\n".join(["", aligned(head, body), "", note, *lines, *comparison(group), f"tables: {group.folder}"])


def cells(found: Found) -> tuple[list[str], list[list[str]]]:
    """Head and body: a row a metric, a column a seed; mean and deviation of several."""
    rows = {"best at step": [float(each.step) for each in found.values()]}
    rows |= {name: [each.scores[name] for each in found.values()] for name in names(found.values())}
    head = ["", *(f"seed {number}" for number in found), *(["mean", "sd"] if len(found) > 1 else [])]
    return head, [[name, *map(shown, values), *summary(values)] for name, values in rows.items()]


def summary(values: Sequence[float]) -> list[str]:
    """Mean and sample standard deviation, which one value has not."""
    return [shown(fmean(values)), shown(stdev(values))] if len(values) > 1 else []


def names(results: Iterable[Result]) -> list[str]:
    """The metrics that all have, first what has chosen the best checkpoint."""
    first, *others = results
    names = [first.monitor, *(name for name in first.scores if name != first.monitor)]
    return [name for name in names if all(name in other.scores for other in others)]


def write_csv(path: Path, found: Found) -> None:
    """A row a seed, with all digits."""
    metrics = names(found.values())
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["seed", "step", *metrics])
        writer.writerows([number, got.step, *(got.scores[name] for name in metrics)] for number, got in found.items())


def comparison(group: Group) -> list[str]:
    """The command that compares them with other systems, where they were tested."""
    tested = [seed for seed in group.seeds if seed.finished and (seed.folder / "predictions.jsonl").exists()]
    if not tested:
        return []
    references = write_references(tested[0], group.folder)
    system = f"{group.name}={files(group, tested)}"
    words = ["compare", *(word for path in references for word in ("--references", str(path))), "--", system]
    return [f"beside another system, NAME=FILE,...:\n  {PROGRAM} {shlex.join(words)}"]


def files(group: Group, tested: Sequence[Seed]) -> str:
    """The outputs of the seeds: a pattern, unless it would match others too."""
    paths = [seed.folder / "predictions.txt" for seed in tested]
    pattern = group.folder / "seed_*" / "predictions.txt"
    return str(pattern) if {*group.folder.glob("seed_*/predictions.txt")} == {*paths} else ",".join(map(str, paths))


def write_references(seed: Seed, folder: Path) -> list[Path]:
    """Write the right answers, a file for each of several; one ``.jsonl`` where their number differs."""
    with (seed.folder / "predictions.jsonl").open(encoding="utf-8", newline="\n") as file:
        answers = [json.loads(line)["references"] for line in file]
    if len(set(map(len, answers))) > 1:
        path = folder / "references.jsonl"
        path.write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in answers), encoding="utf-8")
        return [path]
    paths = []
    for number in range(len(answers[0])):
        path = folder / ("references.txt" if not number else f"references.{number + 1}.txt")
        lines = (each[number].replace("\r", " ").replace("\n", " ") + "\n" for each in answers)
        path.write_text("".join(lines), encoding="utf-8", newline="\n")
        paths.append(path)
    return paths
