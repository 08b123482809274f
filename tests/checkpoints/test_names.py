"""Names of classes in a file: an error in a module that the user trusts is one line with its file and line."""

from pathlib import Path

import pytest

from s2s_lightning.errors import UserError
from s2s_lightning.training.module import Seq2SeqModule
from s2s_lightning.trust.names import VARIABLE, lookup, trust

BROKEN = {
    "trusted_syntax": ("x = (\n", r"SyntaxError: '\(' was never closed \(trusted_syntax.py, line 1\)"),
    "trusted_import": ("import not_installed\n", r"No module named 'not_installed' \(trusted_import.py, line 1\)"),
    "trusted_error": ("x = 1\ny = x / 0\n", r"ZeroDivisionError: division by zero \(trusted_error.py, line 2\)"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_trusted_module_that_cannot_be_imported(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    text, said = BROKEN[name]
    (tmp_path / f"{name}.py").write_text(text)
    trust([name])
    with pytest.raises(UserError, match=f"best.ckpt needs {name}.Net: .*{said}"):
        lookup(f"{name}.Net", Seq2SeqModule, "best.ckpt")
