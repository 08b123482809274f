"""The rooms of the package, bottom to top: a file imports only what stands above its room in the list, or beside it."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path("s2s_lightning")
ROOMS = {
    "__init__": "constants, and the public names that are imported when they are first used",
    "errors": "the one exception for users",
    "files": "files as streams, written whole or not at all",
    "trust": "which names of classes in a file may be imported",
    "config": "YAML files, the parser, and errors of both as one line",
    "nn": "layers",
    "model": "the contract between encoder, decoder and readout",
    "decoding": "searches",
    "objectives": "what training minimises",
    "plotting": "matrices and lines as pictures",
    "cluster": "signals, ranks, nodes",
    "data": "from a corpus to batches",
    "evaluation": "metrics, and the comparison of systems",
    "training": "the LightningModule, schedules, strategies",
    "testing": "the laws of the network, for anybody's class",
    "families": "architectures",
    "checkpoints": "reading, building, averaging",
    "runs": "the folder of a run",
    "callbacks": "all that logs, draws and saves in a training",
    "tracking": "loggers and the record of a run",
    "inference": "a trained model at work",
    "experiments": "sweeps and seeds",
    "python": "trainers of Python programs",
    "cli": "commands",
    "__main__": "the entrance of the command line",
}
"""Room -> what is in it. Every file of the package is in one."""

UP = {("training/module.py", "python/trainers.py"): "a plain Trainer asks the module for the callbacks that it lacks"}
"""The arrows up, and why: (file, file that it imports)."""

TORCH_ALONE = {"nn", "model", "decoding", "objectives", "families", "testing"}
STANDARD = {
    "abc", "collections", "contextlib", "copy", "ctypes", "dataclasses", "enum", "functools", "itertools", "math", "re",
    "typing", "unittest",
}  # fmt: skip

FILES = sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    """The first folder of a file below the package, or its own name."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> list[str]:
    """Dotted names that a file imports, wherever in it."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def file_of(name: str) -> Path:
    """The file of the package that a dotted name stands for or stands in."""
    parts = name.split(".")
    places = (Path(*parts[:end]) for end in range(len(parts), 0, -1))
    return next(f for p in places for f in (p.with_suffix(".py"), p / "__init__.py") if f.is_file())


def own_imports(path: Path) -> set[Path]:
    """The files of the package that a file imports, but for the arrows that are allowed to go up."""
    own = {file_of(name) for name in imports(path) if name.split(".")[0] == PACKAGE.name} - {path}
    short = str(path.relative_to(PACKAGE))
    return {other for other in own if (short, str(other.relative_to(PACKAGE))) not in UP}


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_file_imports_only_what_stands_below_it(path: Path) -> None:
    order = list(ROOMS)
    assert room(path) in order
    if room(path) != "__init__":
        above = [str(other) for other in own_imports(path) if order.index(room(other)) > order.index(room(path))]
        assert not above


def test_no_files_import_each_other_in_a_circle() -> None:
    files = [path for path in FILES if room(path) != "__init__"]
    graph = {path: own_imports(path) - {PACKAGE / "__init__.py"} for path in files}
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(map(str, error.args[1])))


def test_each_arrow_up_is_still_there() -> None:
    for source, target in UP:
        assert PACKAGE / target in {file_of(n) for n in imports(PACKAGE / source) if n.startswith(PACKAGE.name)}


@pytest.mark.parametrize("path", [p for p in FILES if room(p) in TORCH_ALONE], ids=str)
def test_the_network_needs_torch_alone(path: Path) -> None:
    foreign = {name.split(".")[0] for name in imports(path)} - STANDARD - {"torch", "s2s_lightning"}
    assert not foreign


def test_the_data_path_knows_no_network() -> None:
    for path in (PACKAGE / "data").rglob("*.py"):
        assert not [name for name in imports(path) if name.startswith("torch.nn")], path


@pytest.mark.parametrize("path", FILES, ids=str)
def test_wandb_is_imported_by_the_surface_alone(path: Path) -> None:
    if room(path) not in {"callbacks", "cli", "tracking"}:
        assert not [name for name in imports(path) if name.split(".")[0] == "wandb"]
