"""The example of docs/develop/architecture.md: its commands run, and it keeps each law."""

import sys
from pathlib import Path

import pytest

from s2s_lightning.testing import LAWS, Law
from tests.helpers.documents import blocks, commands, type_in, workplace

DOCUMENT = "docs/develop/architecture.md"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the example, as its reader would save it."""
    (tmp_path / "bag_of_words.py").write_text(blocks(DOCUMENT, "python")[0])
    (tmp_path / "bag_of_words.yaml").write_text(blocks(DOCUMENT, "yaml")[0])
    monkeypatch.delitem(sys.modules, "bag_of_words", raising=False)
    return workplace(tmp_path, monkeypatch)


def test_its_commands_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = commands(DOCUMENT)
    assert len(typed) == 2
    for command in typed:
        type_in(command, monkeypatch)
    assert list(folder.glob("runs/bag_of_words/*/checkpoints/last.ckpt"))


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("law", LAWS, ids=str)
def test_the_example_keeps_each_law(law: Law) -> None:
    from bag_of_words import BagOfWords

    law.check(BagOfWords(17, 13).double())
