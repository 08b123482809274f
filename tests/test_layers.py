"""Who may import whom (docs/develop/design.md): a walk over the imports of the package."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path("s2s_lightning")
BASE = {"s2s_lightning", "__version__", "errors"}
ALLOWED: dict[str, set[str]] = {
    "nn": {"nn"},
    "loss": set(),
    "schedules": {"metrics"},
    "training": {"training", "schedules"},
    "memory": set(),
    "batch": set(),
    "metrics": set(),
    "files": {"files"},
    "comparison": {"comparison", "metrics", "suggest", "files"},
    "architecture": {"nn", "loss", "batch"},
    "decoding": {"decoding", "architecture"},
    "forcing": {"batch", "decoding"},
    "numerics": {"architecture", "loss"},
    "packing": {"architecture"},
    "sharding": {"architecture"},
    "objectives": {"objectives", "architecture", "batch", "loss", "nn", "decoding"},
    # trainers: the one arrow up, when a Trainer asks the module for its callbacks
    "module": {
        *("architecture", "batch", "data", "decoding", "loss", "nn", "objectives", "schedules", "sharding"),
        *("trainers", "training"),
    },
    "testing": {"testing", "architecture", "batch", "nn"},
    "families": {"families", "architecture", "loss", "nn", "module"},
    "data": {"data", "batch", "checkpoints", "files", "signals"},
}
TORCH_ALONE = {"nn", "loss", "schedules", "architecture", "decoding", "objectives", "families", "sharding", "testing"}
STANDARD = {
    "abc", "collections", "contextlib", "ctypes", "dataclasses", "enum", "functools", "itertools", "math", "typing",
    "copy", "re", "unittest",
}  # fmt: skip


def imports(path: Path) -> list[str]:
    """Dotted names that a file imports, wherever in it."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" if node.module == "s2s_lightning" else str(node.module)
                      for alias in node.names]  # fmt: skip
    return names


def part(path: Path) -> str:
    """The layer that a file belongs to: its folder, or its own name at the top."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = sorted(path for path in PACKAGE.rglob("*.py") if part(path) in ALLOWED)


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_layer_imports_only_what_lies_below_it(path: Path) -> None:
    own = [name.split(".") for name in imports(path) if name.startswith("s2s_lightning.")]
    layers = {name[1] for name in own if not name[1].isupper()}
    assert layers <= ALLOWED[part(path)] | BASE


@pytest.mark.parametrize("path", [p for p in FILES if part(p) in TORCH_ALONE], ids=str)
def test_the_network_needs_torch_alone(path: Path) -> None:
    foreign = {name.split(".")[0] for name in imports(path)} - STANDARD - {"torch", "s2s_lightning"}
    assert not foreign


def test_the_data_path_knows_no_network() -> None:
    for path in (PACKAGE / "data").rglob("*.py"):
        assert not [name for name in imports(path) if name.startswith("torch.nn")], path


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=str)
def test_wandb_is_imported_by_the_surface_alone(path: Path) -> None:
    if part(path) not in {"callbacks", "commands", "tracking"}:
        assert not [name for name in imports(path) if name.split(".")[0] == "wandb"]
