"""Tables in three dialects."""

import html
import re

import pytest

from s2s_lightning.evaluation.comparison.comparison_report import script_notes
from s2s_lightning.evaluation.comparison.measures import choose
from s2s_lightning.evaluation.comparison.tables import Cell, Table, latex, latex_text, markdown, terminal

NASTY = r"a_b|c*d`e`<f>\g{h}%#&$~^"
TABLE = Table(
    ["name", "empty", "score"],
    [[[Cell(NASTY), Cell(""), Cell("1.00", True)]], [[Cell("long name"), Cell(""), Cell("12.34")]]],
)


def test_a_terminal_aligns_columns_and_leaves_out_the_empty() -> None:
    head, rule, first, blank, second = terminal(TABLE, styled=False).splitlines()
    assert head.split() == ["name", "score"]
    assert set(rule) == {"-"}
    assert blank == ""
    assert len(head) == len(rule) == len(first) == len(second)
    assert first.endswith(" 1.00")


def test_bold_does_not_move_a_column() -> None:
    plain, styled = terminal(TABLE, styled=False), terminal(TABLE, styled=True)
    assert "\x1b[1m" in styled
    assert re.sub(r"\x1b\[\d+m", "", styled) == plain


def test_markdown_has_as_many_cells_in_each_row_and_escapes_what_it_would_read() -> None:
    lines = markdown(TABLE).splitlines()
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    assert {len(row) for row in cells} == {2}
    assert html.unescape(re.sub(r"\\(.)", r"\1", cells[2][0].strip())) == NASTY
    assert cells[2][1].strip() == "**1.00**"


def test_latex_is_booktabs_and_escapes_what_it_would_read() -> None:
    lines = latex(TABLE).splitlines()
    assert [line for line in lines if line.endswith("rule")] == [r"\toprule", r"\midrule", r"\midrule", r"\bottomrule"]
    assert all(len(re.findall(r"(?<!\\)&", line)) == 1 for line in lines if line.endswith(r"\\"))
    assert r"\textbf{1.00}" in latex(TABLE)
    bare = re.sub(r"\\text\w+\{\}|\$[^$]*\$|\\[&%$#_{}]", "", latex_text(NASTY))
    assert not set(bare) & set("&%$#_{}~^\\<>|")


@pytest.mark.parametrize(
    ("text", "hints"),
    [
        ("the cat sat on the mat", []),
        ("\u6211\u4eec\u4eca\u5929\u53bb\u516c\u56ed", ["--rouge_tokenize split", "--tokenize zh"]),
        (
            "\u0645\u0631\u062d\u0628\u0627 \u0628\u0643 \u0627\u0644\u064a\u0648\u0645 \u064a\u0627",
            ["--rouge_tokenize split"],
        ),
    ],
)
def test_a_script_that_a_measure_does_not_know_gets_a_hint(text: str, hints: list[str]) -> None:
    notes = script_notes(choose(["bleu", "rouge"]).values(), [(text,)])
    assert len(notes) == len(hints)
    assert all(hint in note for hint, note in zip(hints, notes, strict=True))
