"""Configurations from files: jsonargparse resolves known class names alone, and opens no file that they name."""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import jsonargparse
from jsonargparse import _common

from s2s_lightning.errors import UserError, located
from s2s_lightning.trust.names import allowed, known, mentioned, unknown
from s2s_lightning.trust.own_classes import no_module

OURS = "s2s_lightning"

TYPED = ("lightning.pytorch.plugins", "lightning.pytorch.strategies", "lightning.pytorch.profilers")
"""Packages whose public classes only a user may name, by short names too."""

FOREIGN = ("torch.optim", "lightning.pytorch.callbacks", "lightning.pytorch.loggers")
"""Packages whose public classes a stored configuration may name."""

RUNS_CODE = ("LambdaCallback",)
"""Public classes that call what their arguments name."""

if not hasattr(_common, "parsing_settings"):
    raise ImportError(
        f"jsonargparse {jsonargparse.__version__} keeps its settings elsewhere than in _common.parsing_settings: "
        "install the version of constraints.txt"
    )


def ours(packages: Sequence[str] = FOREIGN) -> set[str]:
    """Return the names of imported classes of this package or below one of them, and of the packages' public ones."""
    modules = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == OURS}
    found = {value for module in modules.values() for value in vars(module).values() if isinstance(value, type)}
    names = {name for cls in found if cls.__module__ in modules for name in known(cls)}
    for package in packages:
        public = vars(sys.modules[package]).items() if package in sys.modules else ()
        for name, cls in public:
            if isinstance(cls, type) and cls.__module__.startswith(package) and name not in RUNS_CODE:
                names.update((f"{package}.{name}", f"{cls.__module__}.{cls.__qualname__}"))
    return {name for name in names if all(part.isidentifier() for part in name.split("."))}  # no local classes


@contextmanager
def known_names_alone(typed: Iterable[str] = ()) -> Iterator[None]:
    """Let jsonargparse import known names, trusted ones and those that the user typed, while the context lasts."""
    before = dict(_common.parsing_settings)
    names = {*ours((*FOREIGN, *TYPED)), *allowed(), *typed}
    jsonargparse.set_parsing_settings(
        import_path_denylist=["*"],
        import_path_allowlist=sorted(name for name in names if name.partition(".")[0] != "jsonargparse"),
        instantiate_subclass_spec_in_any=False,
    )
    try:
        _importable.update(names)
        yield
    finally:
        _importable.clear()
        _common.parsing_settings.clear()
        _common.parsing_settings.update(before)


_importable: set[str] = set()
"""Names that jsonargparse may import now."""


def broken_import(message: str) -> str | None:
    """Return why the module of a class that a message names cannot be imported, or None if it can or may not be."""
    for name in sorted(mentioned(message) & _importable):
        module, _, cls = name.rpartition(".")
        if not cls[0].isupper() or module in sys.modules:
            continue
        try:
            import_module(module)
        except (Exception, SystemExit) as error:
            if isinstance(error, ModuleNotFoundError) and error.name and f"{module}.".startswith(f"{error.name}."):
                if "." in error.name:  # a part of a package, where the parser finds the right one
                    continue
                return f"{name} names no class: {no_module(error.name, cls)}"
            return f"{module} cannot be imported: {located(error)}"
    return None


def check_names(config: Any, file: object, typed: Iterable[str] = ()) -> None:
    """Raise UserError for the first class of a stored configuration that is neither known nor trusted.

    Args:
        config: as YAML has it.
        file: where it stands.
        typed: names that the user typed.
    """
    names = {*ours(), *allowed(), *typed}
    for name in _class_paths(config):
        if "." in name and not any(".".join(name.split(".")[:n]) in names for n in range(1, name.count(".") + 2)):
            raise UserError(unknown(name, file))


def _class_paths(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, each in value.items():
            if str(key).endswith("class_path") and isinstance(each, str):
                yield each
            yield from _class_paths(each)
    elif isinstance(value, list):
        for each in value:
            yield from _class_paths(each)
    elif isinstance(value, str) and "class_path" in value:
        yield from mentioned(value)


def without_places(config: dict[str, Any], checkpoint: str | Path) -> dict[str, Any]:
    """Return the configuration of a checkpoint that another wrote, without the places where it would write.

    Folders of runs and caches are left out. Other paths of the Trainer's parts, of loggers and callbacks, are put below
    the folder of the run that the checkpoint lies in.
    """
    own = Path(checkpoint).resolve().parent
    folder = own.parent if own.name == "checkpoints" else Path("runs")
    data = {key: value for key, value in (config.get("data") or {}).items() if key != "cache_dir"}
    trainer = {key: value for key, value in (config.get("trainer") or {}).items() if key != "default_root_dir"}
    kept = {key: value for key, value in config.items() if key not in ("data", "trainer")}
    return {**kept, "data": data, **({"trainer": _below(trainer, folder)} if trainer else {})}


def _below(value: Any, folder: Path) -> Any:
    """Put each path in a value below a folder."""
    if isinstance(value, dict):
        return {key: _below(each, folder) for key, each in value.items()}
    if isinstance(value, list):
        return [_below(each, folder) for each in value]
    if isinstance(value, str) and ("/" in value or os.sep in value or value.startswith(("~", ".."))):
        return str(folder / Path(value).name)
    return value
