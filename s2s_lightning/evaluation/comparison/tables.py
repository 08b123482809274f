"""One table, written for a terminal, in Markdown or in LaTeX."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

Format = Literal["terminal", "markdown", "latex"]

BOLD, PLAIN = "\x1b[1m", "\x1b[0m"


class Cell(NamedTuple):
    """A text, in bold if it is the best."""

    text: str
    best: bool = False


@dataclass(frozen=True)
class Table:
    """Rows in groups; columns that are empty everywhere are left out. The first ``left`` columns are aligned left."""

    header: Sequence[str]
    groups: Sequence[Sequence[Sequence[Cell]]]
    left: int = 1

    def columns(self) -> list[int]:
        """Return the columns that have any content."""
        rows = [row for group in self.groups for row in group]
        return [column for column in range(len(self.header)) if any(row[column].text for row in rows)]


def terminal(table: Table, styled: bool) -> str:
    """Aligned columns; the best in bold if the terminal knows styles."""
    columns = table.columns()
    lines = [[Cell(name) for name in table.header], *(row for group in table.groups for row in group)]
    widths = {column: max(len(line[column].text) for line in lines) for column in columns}

    def line(row: Sequence[Cell]) -> str:
        cells = []
        for column in columns:
            text = row[column].text
            padded = text.ljust(widths[column]) if column < table.left else text.rjust(widths[column])
            cells.append(f"{BOLD}{padded}{PLAIN}" if styled and row[column].best else padded)
        return "  ".join(cells).rstrip()

    head = line(lines[0])
    rule = "-" * max(len(head), sum(widths.values()) + 2 * len(widths) - 2)
    blocks = ["\n".join(map(line, group)) for group in table.groups]
    return "\n".join([head, rule, "\n\n".join(blocks)])


def markdown(table: Table) -> str:
    """A table of GitHub's Markdown."""
    columns = table.columns()

    def line(texts: Sequence[str]) -> str:
        return f"| {' | '.join(texts)} |"

    rows = [
        line([f"**{markdown_text(row[c].text)}**" if row[c].best else markdown_text(row[c].text) for c in columns])
        for group in table.groups
        for row in group
    ]
    rule = line([":---" if column < table.left else "---:" for column in columns])
    return "\n".join([line([markdown_text(table.header[column]) for column in columns]), rule, *rows])


def latex(table: Table) -> str:
    """A tabular with the rules of the package booktabs."""
    columns = table.columns()

    def line(texts: Sequence[str]) -> str:
        return " & ".join(texts) + r" \\"

    groups = [
        "\n".join(
            line(
                [rf"\textbf{{{latex_text(row[c].text)}}}" if row[c].best else latex_text(row[c].text) for c in columns]
            )
            for row in group
        )
        for group in table.groups
    ]
    return "\n".join(
        [
            rf"\begin{{tabular}}{{{''.join('l' if column < table.left else 'r' for column in columns)}}}",
            r"\toprule",
            line([latex_text(table.header[column]) for column in columns]),
            r"\midrule",
            "\n\\midrule\n".join(groups),
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


def markdown_text(text: str) -> str:
    """The text itself, whatever Markdown would read in it."""
    return re.sub(r"([\\`*_{}\[\]<>|~#])", r"\\\1", text)


LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "<": r"$<$",
    ">": r"$>$",
    "|": r"$|$",
    "*": r"$^{*}$",
    **{char: f"\\{char}" for char in "&%$#_{}"},
}


def latex_text(text: str) -> str:
    """The text itself, whatever LaTeX would read in it."""
    return "".join(LATEX.get(char, char) for char in text)
