"""The tree in the documentation is that of the package."""

from tests.helpers.documents import blocks, tree


def test_the_tree_is_that_of_the_package() -> None:
    shown = blocks("docs/develop/tree.md", "text")[-1].rstrip()
    assert shown == tree(), "python scripts/document_tree.py writes it"
