"""The user's own source files that a run uses: digests for its record, copies in its folder, and changes since."""

import ast
import hashlib
import json
import sys
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.util import resolve_name
from pathlib import Path, PurePosixPath
from types import FunctionType
from typing import Any

from torch import nn

from s2s_lightning.errors import NOT_OWN
from s2s_lightning.files import write_whole

FOLDER = "source"
"""The folder in a run that has the copies."""

MOST = 2**20
"""Bytes of a file above which it is not copied."""


def own_files(modules: Iterable[str]) -> dict[str, Path]:
    """Return the own files behind modules, and behind what they import of their own, by the name that a copy gets.

    Imports are read from the text of each file; nothing is imported. A name is the module's: ``pack/part.py``.
    """
    found: dict[str, Path] = {}
    left = [part for name in modules for part in _with_parents(name)]
    while left:
        name = left.pop()
        path = _file(name)
        if path is None:
            continue
        package = path.name == "__init__.py"
        key = path.name if name == "__main__" else name.replace(".", "/") + ("/__init__.py" if package else ".py")
        if key not in found:
            found[key] = path
            left += [part for each in _imports(path, name if package else name.rpartition(".")[0])
                     for part in _with_parents(each)]  # fmt: skip
    return dict(sorted(found.items()))


def modules_of(parts: Iterable[Any]) -> set[str]:
    """Return the modules of the classes of objects and of what they hold, two levels deep."""
    names: set[str] = set()
    level = list(parts)
    for _ in range(3):
        for part in level:
            cls = part if isinstance(part, type | FunctionType) else type(part)
            names.update(each.__module__ for each in getattr(cls, "__mro__", (cls,)))
        level = [held for part in level for held in _held(part)]
    return names


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def keep(folder: Path, modules: Iterable[str], step: int) -> tuple[dict[str, str], list[str]]:
    """Copy the own files of modules into a run's folder.

    Copies that differ stay as ``source_until_step_N``.

    Returns:
        the digest of each file by its name, and the names of those that are too large to be copied.
    """
    files = own_files(modules)
    digests = {name: digest(path) for name, path in files.items()}
    large = [name for name, path in files.items() if path.stat().st_size > MOST]
    copies = folder / FOLDER
    if any((copies / name).is_file() and digest(copies / name) != digests[name] for name in digests):
        former = folder / f"{FOLDER}_until_step_{step}"
        if not former.exists():  # else an earlier resume at this step has put the code of the weights there
            copies.replace(former)
    for name, path in files.items():
        if name not in large:
            (copies / name).parent.mkdir(parents=True, exist_ok=True)
            write_whole(copies / name, path.read_bytes())
    return digests, large


def recorded(folder: Path) -> dict[str, str]:
    """Return the digests of own files in a run's record; none where the record is missing, older or corrupt."""
    with suppress(OSError, ValueError, AttributeError):
        files = json.loads((folder / "run.json").read_text(encoding="utf-8")).get("source") or {}
        return {str(name): str(value) for name, value in files.items() if _plain(str(name))}
    return {}


def pack(run: Path, target: Path) -> list[str]:
    """Write the copies of own code in a run's folder that are what its record says into a ZIP file.

    Returns:
        their names; without any there is no file.
    """
    copies = {name: run / FOLDER / name for name in recorded(run)}
    whole = {name: path for name, path in copies.items() if path.is_file() and digest(path) == recorded(run)[name]}
    if whole:
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, path in whole.items():
                archive.writestr(zipfile.ZipInfo(name), path.read_bytes())
    return list(whole)


def changed(folder: Path) -> list[str]:
    """Return the own files, imported here, that are not what a run's record says."""
    known = recorded(folder)
    here = {name: _file(_module(name)) for name in known}
    return [name for name, path in here.items() if path is not None and digest(path) != known[name]]


def _with_parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]


def _file(name: str) -> Path | None:
    """Return the file of an imported module, or of one beside the imported ones, if it is the user's own."""
    module = sys.modules.get(name)
    path = getattr(module, "__file__", None)
    if module is None and (parent := sys.modules.get(name.rpartition(".")[0])) and getattr(parent, "__file__", None):
        path = str(Path(str(parent.__file__)).parent / f"{name.rpartition('.')[2]}.py")
    own = path and path.endswith(".py") and not path.startswith(NOT_OWN) and "-packages" not in path
    return Path(path) if path and own and Path(path).is_file() else None


def _imports(path: Path, package: str) -> Iterator[str]:
    """Yield the modules that a file imports, wherever in it; the names it takes from one may be modules, too."""
    with suppress(SyntaxError, ValueError, ImportError):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = resolve_name("." * node.level + (node.module or ""), package) if node.level else node.module
                yield from (f"{base}.{alias.name}" for alias in node.names)


def _held(part: Any) -> list[Any]:
    if isinstance(part, list | tuple):
        return list(part[:1000])
    if isinstance(part, dict):
        return list(part.values())
    children = list(part.modules()) if isinstance(part, nn.Module) else []
    return [*children, *vars(part).values()] if hasattr(part, "__dict__") and not isinstance(part, type) else children


def _module(name: str) -> str:
    return name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _plain(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and name.endswith(".py")
