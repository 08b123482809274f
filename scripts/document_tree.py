"""Write ``docs/develop/tree.md``: every file of the package with the first sentence of its docstring.

python scripts/document_tree.py
"""

import sys
from pathlib import Path

sys.path.insert(0, ".")

from tests.helpers.documents import tree

HEAD = "# The tree\n\nEvery file of the package, with the first sentence of its docstring.\n\n"

if __name__ == "__main__":
    Path("docs/develop/tree.md").write_text(f"{HEAD}```text\n{tree()}\n```\n")
