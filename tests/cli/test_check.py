"""``check``: the laws on a user's own class, from any folder; errors in a user's file name its line."""

import inspect
import json
from pathlib import Path

import pytest

from s2s_lightning.testing import LAWS
from tests.cli.conftest import Result, command
from tests.helpers.documents import ROOT, blocks
from tests.testing import broken

SMALL = ("--model.d_embedding", 8)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """An empty folder with a user's file of a name that no other test imports."""
    name = "own_" + "".join(c if c.isalnum() else "_" for c in request.node.name)
    (tmp_path / f"{name}.py").write_text(inspect.getsource(broken))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def own(folder: Path) -> str:
    """The name of the user's module."""
    (path,) = folder.glob("own_*.py")
    return path.stem


def statuses(result: Result) -> dict[str, str]:
    """Law -> status of the results as JSON."""
    return {each["law"]: each["status"] for each in json.loads(result.out)}


@pytest.mark.parametrize("target", ["{0}.Mixing", "{0}.py:Mixing", "{0}.Attending", "{0}.py:Attending"])
def test_a_correct_part_keeps_each_law_with_a_partner_of_ours(folder: Path, target: str) -> None:
    result = command("check", target.format(own(folder)), *SMALL)
    assert result.code == 0, result
    lines = result.out.splitlines()
    assert [line[16:38].strip() for line in lines] == [law.name for law in LAWS]
    assert all(line.startswith("ok ") for line in lines)


def test_a_broken_part_ends_with_1_and_the_numbers(folder: Path) -> None:
    result = command("check", f"{own(folder)}.FNet", *SMALL)
    assert result.code == 1
    lines = result.out.splitlines()
    (at,) = [number for number, line in enumerate(lines) if line.startswith("FAILS")]
    assert "padding" in lines[at]
    assert "of row" in lines[at + 1]
    assert "look at: layers that mix positions" in lines[at + 2]
    assert result.err.splitlines()[-1] == "broken: padding"


def test_a_broken_rule_of_the_house_is_said_and_ends_with_0(folder: Path) -> None:
    result = command("check", f"{own(folder)}.py:Grows", *SMALL, "--json")
    assert result.code == 0
    assert [name for name, status in statuses(result).items() if status == "FAILS"] == ["carry"]
    assert "rules of the house that do not hold: carry" in result.err


def test_a_hybrid_of_own_parts_is_checked_by_its_configuration(folder: Path) -> None:
    name = own(folder)
    (folder / "model.yaml").write_text(f"""
model:
  class_path: Hybrid
  init_args: {{d_embedding: 8, encoder: {name}.Mixing, decoder: {name}.IgnoresReordering}}
trainer: {{max_steps: 5}}
""")
    result = command("check", "model.yaml", "--json")
    assert result.code == 1
    assert [name for name, status in statuses(result).items() if status == "FAILS"] == ["reordering"]
    assert command("check", "--config", "model.yaml", "--model.decoder", f"{name}.Attending").code == 0
    (folder / "run").mkdir()
    (folder / "model.yaml").rename(folder / "run/config.yaml")
    assert command("check", "run").code == 1


def test_a_whole_family_of_ones_own_is_checked(folder: Path) -> None:
    (example,) = blocks("docs/develop/architecture.md", "python")
    (folder / "own_bag.py").write_text(example)
    assert command("check", "own_bag.BagOfWords").code == 0


def test_a_shipped_configuration_keeps_the_laws() -> None:
    sizes = [f"--model.{name}={value}" for name, value in {"d_model": 8, "num_heads": 2, "d_ff": 8}.items()]
    assert command("check", ROOT / "configs/transformer.yaml", *sizes).code == 0
    assert command("check", "Transformer", *sizes).code == 0


WRONG = {
    "{0}.NoSuch": "has no class NoSuch",
    "{0}.Carry": "is no Seq2SeqModule, Encoder or Decoder",
    "{0}.py": "name one, as",
    "missing.py:FNet": "there is no file missing.py",
    "missing.FNet": "there is no module missing: no missing.py in the working folder",
    ".Net": "'.Net' names no class",
    "last.ckpt": "last.ckpt is a checkpoint: give the folder of its run",
    "Transformr": "'Transformr' names no class: did you mean Transformer?",
    "missing.yaml": "there is no configuration file missing.yaml",
    "{0}.Mixing --model.d_embeding 3": "did you mean --model.d_embedding?",
    "{0}.Mixing --model.encoder.layers 3": "--model.encoder.layers is not an option of Mixing",
    "{0}.NoArguments": "NoArguments: NoArguments.__init__() takes 1 positional argument but 2 were given; its form is",
    "{0}.NoShape": "Encoder NoShape: shape is not set; set self.shape = MemoryShape(d_states, (L, D'))",
    "{0}.Abstract": "Can't instantiate abstract class Abstract",
    "{0}.Misspelt": "Misspelt: NameError: name 'd_embeding' is not defined (own_",
    "syntax.Net": "syntax cannot be imported: SyntaxError: '(' was never closed (syntax.py, line 3)",
    "syntax.py:Net": "syntax.py cannot be imported: SyntaxError: '(' was never closed (syntax.py, line 3)",
    "needs.Net": "needs cannot be imported: ModuleNotFoundError: No module named 'not_installed' (needs.py, line 1)",
    "needs.py": "needs.py cannot be imported: ModuleNotFoundError: No module named 'not_installed' (needs.py, line 1)",
    "divides.Net": "divides cannot be imported: ZeroDivisionError: division by zero (divides.py, line 2)",
    "json.py:Net": "json.py cannot be imported as json",
    "--model.d_model 3": "check needs CONFIG or CLASS as its first word",
}


def write_wrong_files(folder: Path) -> None:
    (folder / "syntax.py").write_text("x = 1\n\ny = (\n")
    (folder / "needs.py").write_text("import not_installed\n")
    (folder / "divides.py").write_text("x = 1\ny = x / 0\n")
    (folder / "json.py").write_text("x = 1\n")


def refused(*args: object) -> str:
    result = command(*args)
    assert result.code == 2, result
    assert len(result.err.splitlines()) == 1
    return result.err


@pytest.mark.parametrize(("arguments", "said"), WRONG.items(), ids=WRONG)
def test_what_cannot_be_checked_is_one_line(folder: Path, arguments: str, said: str) -> None:
    write_wrong_files(folder)
    assert said in refused("check", *arguments.format(own(folder)).split())


@pytest.mark.parametrize("module", ["syntax", "needs", "divides", "missing"])
@pytest.mark.parametrize(
    "option",
    ["--model {0}", "--model Hybrid --model.encoder {0}", "--data.tokenizer {0}", "--objective {0}", "--optimizer {0}"],
)
def test_fit_says_why_the_module_of_an_own_class_cannot_be_imported(folder: Path, option: str, module: str) -> None:
    write_wrong_files(folder)
    says = WRONG[f"{module}.{'FNet' if module == 'missing' else 'Net'}"]
    says = says.removeprefix(module) if "imported" in says else says
    assert says in refused("fit", *option.format(f"{module}.Net").split())


def test_fit_says_in_one_line_what_an_own_part_returns(folder: Path, config: Path) -> None:
    name, parts = own(folder), ("--model", "Hybrid", "--model.d_embedding", 8)
    parts = (*parts, "--model.encoder", f"{name}.ReturnsTensor", "--model.decoder", f"{name}.Attending")
    data = "--data.corpus Generated --data.corpus.train_pairs 20 --data.corpus.val_pairs 4 --trainer.accelerator cpu"
    result = command("fit", *data.split(), *parts, "--trainer.max_steps", 1)
    assert result.code == 2
    (line,) = [line for line in result.err.splitlines() if line.startswith("error: ")]
    assert "Encoder ReturnsTensor returned a Tensor; return Memory(states, values, padding, summary) (own_" in line


def test_help_and_no_argument_show_the_forms() -> None:
    assert "CONFIG-or-CLASS" in command("check", "--help").out
    assert "CONFIG-or-CLASS" in command("check").out
