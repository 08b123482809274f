"""The examples of docs/develop/extending.md, each saved to a file outside the package and used as the document says."""

import re
import sys
from importlib import import_module
from pathlib import Path

import pytest

from s2s_lightning.testing import LAWS, Law
from tests.helpers.documents import ROOT, blocks, commands, type_in, workplace

DOCUMENT = "docs/develop/extending.md"
FITS = [command for command in commands(DOCUMENT) if " fit " in command]
BROKEN, CORRECT = [command for command in commands(DOCUMENT) if " check " in command]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with each example of the document in a file."""
    for block in blocks(DOCUMENT, "python"):
        name = block.splitlines()[0].removeprefix("# ")
        (tmp_path / name).write_text(block)
    return workplace(tmp_path, monkeypatch)


@pytest.mark.parametrize("command", FITS, ids=["corpus", "tokenizer", "metric", "search"])
def test_a_part_of_ones_own_comes_in_by_class_path(command: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    type_in(command, monkeypatch)
    assert list(folder.glob("runs/lstm/*/checkpoints/last.ckpt"))


@pytest.fixture
def fresh(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's module is imported from this folder."""
    monkeypatch.delitem(sys.modules, "fnet", raising=False)


def without_numbers(text: str) -> list[str]:
    return [re.sub(r"\d[\d.e+-]*", "N", line) for line in text.splitlines() if line != "..."]


@pytest.mark.usefixtures("fresh")
def test_check_prints_what_the_document_shows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="1"):
        type_in(BROKEN, monkeypatch)
    (shown,) = blocks(DOCUMENT, "console")
    printed = without_numbers(capsys.readouterr().out)
    assert without_numbers(shown) == printed[: len(without_numbers(shown))]
    type_in(CORRECT, monkeypatch)
    assert "FAILS" not in capsys.readouterr().out


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("law", LAWS, ids=str)
def test_the_helper_for_pytest_checks_each_law(law: Law) -> None:
    import_module("test_fnet").test_my_encoder_keeps(law)


def test_the_document_says_each_law() -> None:
    text = (ROOT / DOCUMENT).read_text()
    assert [law.name for law in LAWS if law.name not in text] == []
