"""Configurations from files: jsonargparse resolves known class names alone, and opens no file that they name."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import jsonargparse
from jsonargparse import _common

from s2s_lightning.checkpoints.names import allowed, full_name, known, mentioned, unknown
from s2s_lightning.errors import UserError

OURS = "s2s_lightning"

FOREIGN = ("torch.optim", "lightning.pytorch.callbacks", "lightning.pytorch.loggers")
"""Packages whose public classes a stored configuration may name."""

RUNS_CODE = ("LambdaCallback",)
"""Public classes that call what their arguments name."""

if not hasattr(_common, "parsing_settings"):
    raise ImportError(
        f"jsonargparse {jsonargparse.__version__} keeps its settings elsewhere than in _common.parsing_settings: "
        "install the version of constraints.txt"
    )


def ours() -> set[str]:
    """Return the names of all imported classes of this package or below one of them, and of ``FOREIGN``'s public ones."""
    modules = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == OURS}
    found = {value for module in modules.values() for value in vars(module).values() if isinstance(value, type)}
    names = {name for cls in found if cls.__module__ in modules for name in known(cls)}
    for package in FOREIGN:
        public = vars(sys.modules[package]).items() if package in sys.modules else ()
        for name, cls in public:
            if isinstance(cls, type) and cls.__module__.startswith(package) and name not in RUNS_CODE:
                names.update((f"{package}.{name}", full_name(cls)))
    return names


@contextmanager
def known_names_alone(typed: Iterable[str] = ()) -> Iterator[None]:
    """Within, jsonargparse imports no name but known ones, trusted ones and those that the user typed."""
    before = dict(_common.parsing_settings)
    names = {*ours(), *allowed(), *typed}
    jsonargparse.set_parsing_settings(
        import_path_denylist=["*"],
        import_path_allowlist=sorted(name for name in names if name.partition(".")[0] != "jsonargparse"),
        instantiate_subclass_spec_in_any=False,
    )
    try:
        yield
    finally:
        _common.parsing_settings.clear()
        _common.parsing_settings.update(before)


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
