"""Report of a sweep: the table, the command that repeats the best trial, and pictures."""

import shlex
from pathlib import Path

from s2s_lightning.experiments.sweeps.study import Study
from s2s_lightning.experiments.sweeps.trial_table import STATES, as_csv, as_markdown, as_text, rows


def report(study: Study, folder: Path) -> str:
    """Write ``table.md``, ``table.csv`` and the pictures into the folder; the text for the terminal."""
    found = rows(study)
    if not found:
        return "no trial has run yet"
    _write(folder / "table.md", as_markdown(study, found))
    _write(folder / "table.csv", as_csv(study, found))
    lines = ["", as_text(study, found), ""]
    if running := sum(row.state == STATES["RUNNING"] for row in found):
        lines.append(f"{running} trials still run in other processes")
    best = found[0]
    if best.value is not None:
        from s2s_lightning.experiments.sweeps.sweep_pictures import draw

        lines.append(f"trial {best.number} is the best; repeat it with:\n  {shlex.join(best.command)}")
        if best.run:
            lines.append(f"its run: {best.run}")
        lines += draw(study, found, folder)
    return "\n".join([*lines, f"table and pictures: {folder}"])


def _write(path: Path, text: str) -> None:
    """Write a file in one step: several processes may finish at once."""
    partial = path.with_name(f".{path.name}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
