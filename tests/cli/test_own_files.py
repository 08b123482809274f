"""Faults in the user's own files: one line with file, line and remedy, whatever slot names the class."""

import sys
from pathlib import Path

import pytest

from s2s_lightning.data import Corpus
from s2s_lightning.errors import UserError
from s2s_lightning.trust.names import lookup, trust
from tests.cli.conftest import command

FILES = {
    "own_syntax": "import torch\n\nclass FNet(\n",
    "own_import": "import torch\nimport surely_not_installed\n",
    "own_helper": "def f(:\n",
    "own_chain": "import own_helper\n",
    "own_name": "x = 1\ny = undefined\n",
    "own_exit": "import sys\nsys.exit('bye')\n",
    "own_plain": "class FNet:\n    pass\n",
    "own_corpus": """from s2s_lightning.data import Corpus

class Raises(Corpus):
    def __init__(self) -> None:
        raise KeyError("boom")

    def has(self, split): return True

    def read(self, split): yield
""",
}

FAULTS = {
    "own_syntax.FNet": "SyntaxError: '(' was never closed (own_syntax.py, line 3)",
    "own_import.FNet": "No module named 'surely_not_installed' (own_import.py, line 2)",
    "own_chain.FNet": "SyntaxError: invalid syntax (own_helper.py, line 1)",
    "own_name.FNet": "NameError: name 'undefined' is not defined (own_name.py, line 2)",
    "own_exit.FNet": "SystemExit: bye (own_exit.py, line 2)",
    "own_plain.FNt": "own_plain.py has no class FNt: did you mean FNet?",
    "own_plane.FNet": "no own_plane.py in the working folder",
}
"""Class path -> a part of its line."""

SLOTS = {
    "--model": "s2s_lightning.training.Seq2SeqModule",
    "--data.corpus": "s2s_lightning.data.Corpus",
    "--data.tokenizer": "s2s_lightning.data.Tokenizer",
    "--objective": "s2s_lightning.objectives.Objective",
    "--decoding": "s2s_lightning.decoding.Decoding",
    "--optimizer": "torch.optim.Optimizer",
    "--trainer.callbacks": "lightning.Callback",
    "--evaluation.metrics": "s2s_lightning.evaluation.Metric",
}
"""Option -> the base class of what it names."""


@pytest.fixture(autouse=True)
def own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in FILES.items():
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("option", ["--model", "--decoding", "--evaluation.metrics"])
def test_a_fault_in_the_users_file_is_one_line(config: Path, option: str, name: str) -> None:
    result = command("fit", "--config", config, option, name)
    assert result.code == 2
    assert FAULTS[name] in result.err
    assert len(result.err.strip().splitlines()) == 1


@pytest.mark.parametrize("option", SLOTS)
def test_a_class_of_another_kind_is_told_what_to_derive_from(config: Path, option: str) -> None:
    result = command("fit", "--config", config, option, "own_plain.FNet")
    assert result.code == 2
    assert f"{option}=own_plain.FNet: FNet of own_plain.py is no " in result.err
    assert SLOTS[option] in result.err


def test_a_constructor_of_ones_own_that_raises_names_its_line(config: Path) -> None:
    result = command("fit", "--config", config, "--data.corpus", "own_corpus.Raises")
    assert (result.code, result.err) == (2, "error: Raises: KeyError: 'boom' (own_corpus.py, line 5)\n")


@pytest.mark.parametrize("name", [name for name in FAULTS if "plane" not in name])
def test_a_fault_in_a_trusted_module_is_one_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S2S_LIGHTNING_TRUST", "")
    trust([name.partition(".")[0]])
    with pytest.raises(UserError) as error:
        lookup(name, Corpus, "best.ckpt")  # type: ignore[type-abstract]
    assert FAULTS[name] in str(error.value)


def test_an_error_of_ones_own_code_during_training_keeps_its_traceback(config: Path, tmp_path: Path) -> None:
    text = "from s2s_lightning.objectives import LabelSmoothedCrossEntropy\n\n\nclass Own(LabelSmoothedCrossEntropy):\n"
    (tmp_path / "own_objective.py").write_text(
        text + "    def __call__(self, *args, **kwargs):\n        raise KeyError('mine')\n"
    )
    with pytest.raises(KeyError, match="mine"):
        command("fit", "--config", config, "--run", tmp_path / "run", "--objective", "own_objective.Own")
