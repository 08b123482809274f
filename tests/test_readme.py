"""The README is true: its commands run in the order in which they stand, its example of an architecture works."""

from pathlib import Path

import pytest

from s2s_lightning.testing import LAWS, Law
from tests.helpers.documents import blocks, commands, tree, type_in, workplace


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the README's own architecture in it, as its reader would save it, and some words."""
    (tmp_path / "words.txt").write_text("lightning\nthunder\n")
    (tmp_path / "words.ref").write_text("L AY T N IH NG\nTH AH N D ER\n")
    (example,) = [block for block in blocks("README.md", "python") if "class BagOfWords" in block]
    (tmp_path / "bag_of_words.py").write_text(example)
    (tmp_path / "bag_of_words.yaml").write_text(blocks("README.md", "yaml")[0])
    return workplace(tmp_path, monkeypatch)


def test_every_command_of_the_readme_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = commands("README.md")
    assert len(typed) >= 8
    for command in typed:
        type_in(command, monkeypatch)
    (loading,) = [block for block in blocks("README.md", "python") if "s2s_lightning.load" in block]
    exec(compile(loading, "README.md", "exec"), {})


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_the_example_of_an_architecture_keeps_each_law(folder: Path, law: Law) -> None:
    from bag_of_words import BagOfWords

    law.check(BagOfWords(17, 13).double())


def test_the_tree_of_the_readme_is_that_of_the_package() -> None:
    assert blocks("README.md", "text")[-1].rstrip() == tree(), "print tests.helpers.documents.tree() into the README"
