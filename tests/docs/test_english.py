"""Plain English, as far as a program can tell: how docstrings open, how long sentences and lines are."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path("s2s_lightning")
WRITTEN = {"families.md", "tree.md"}
"""Pages that a script writes."""

PAGES = sorted(
    [
        *(p for p in Path("docs").rglob("*.md") if p.name not in WRITTEN),
        *map(Path, ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    ]
)

NO_OPENINGS = {
    *("what", "of", "those", "whether", "who", "whose", "how", "where", "which", "that", "to", "in", "on", "by", "for"),
    *("with", "as", "from", "at", "without", "within", "so", "if", "when", "while", "more", "not", "no", "all", "both"),
}
"""Words with which no docstring begins: the first word is a verb, or the noun of the thing."""

LONGEST_SENTENCE = 30
"""Words of a sentence of a docstring or a page; a list of names in code counts as one word."""

LONGEST_LINE = 140
"""Characters of a line of a page, but for tables, code and links."""


def docstrings(path: Path) -> list[tuple[str, str]]:
    """Name and text of each docstring of a file."""
    tree = ast.parse(path.read_text())
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    return [(getattr(node, "name", path.name), text) for node in nodes if (text := ast.get_docstring(node))]


def sentences(text: str) -> list[str]:
    """The sentences of a text, code as one word each."""
    text = re.sub(
        r"``[^`]*``|`[^`]*`|\([^()]*(?:arXiv|doi)[^()]*\)|\[([^]]*)\]\([^)]*\)", lambda m: m[1] or "code", text
    )
    return re.split(r"(?<=[.!?:;])\s+|\n\s*\n", text)


def prose(docstring: str) -> str:
    """A docstring without its sections, its formulas and its lists."""
    body = re.split(r"\n\s*(?:Args|Attributes|Returns|Raises|Card|Yields):\n", docstring)[0]
    return "\n".join(line for line in body.splitlines() if not re.match(r"\s{4,}|\s*[-*|]", line))


def too_long(text: str) -> list[str]:
    """The sentences that are too long, but for formulas, measurements and lists of shape letters."""
    words = (each.split() for each in sentences(text))
    return [" ".join(each) for each in words if len(each) > LONGEST_SENTENCE and not is_formula(each)]


def is_formula(words: list[str]) -> bool:
    """True for words of which many are symbols or numbers."""
    return sum(bool(re.fullmatch(r"\(?[A-Z]'?[,;)]*|[=+*/-]|[(]?[\d.]+[,;)]*", word)) for word in words) >= 4


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_docstring_opens_with_a_verb_or_a_noun(path: Path) -> None:
    openings = {name: text.split(maxsplit=1)[0].strip(".,:;").lower() for name, text in docstrings(path)}
    assert {name: word for name, word in openings.items() if word in NO_OPENINGS} == {}


@pytest.mark.parametrize("path", FILES, ids=str)
def test_the_sentences_of_a_docstring_are_short(path: Path) -> None:
    assert {name: long for name, text in docstrings(path) if (long := too_long(prose(text)))} == {}


@pytest.mark.parametrize("path", PAGES, ids=str)
def test_the_sentences_and_lines_of_a_page_are_short(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    lines = [line for line in text.splitlines() if not re.match(r"    |\s*[|#!]", line)]
    assert [line for line in lines if len(line) > LONGEST_LINE and "](" not in line] == []
    paragraphs = re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )", "\n".join(lines))
    assert [each for paragraph in paragraphs for each in too_long(paragraph)] == []
