"""Class paths that name no class which fits: what the module has instead, and which class to derive from."""

import sys
from pathlib import Path
from types import ModuleType

from s2s_lightning.errors import closest, did_you_mean, shown

PACKAGES = ("s2s_lightning.", "lightning.", "torch.")
"""Beginnings of the names of classes that are not the user's own."""


def no_class(name: str) -> str | None:
    """Return why a dotted name is no class, or None for a module that was never imported, nor looked for."""
    module_name, _, cls = name.rpartition(".")
    module = sys.modules.get(module_name)
    if module is None:
        package = sys.modules.get(module_name.rpartition(".")[0])
        return None if package is None else f"{place(package)} has no module {module_name.rpartition('.')[2]}"
    if hasattr(module, cls):
        return None
    found = [key for key, value in vars(module).items() if isinstance(value, type) and value.__module__ == module_name]
    hint = did_you_mean(closest(cls, found)) or (
        f"; it has {', '.join(found)}" if found else "; it has no class at all"
    )
    return f"{place(module)} has no class {cls}{hint}"


def no_module(module: str, cls: str) -> str:
    """Return where a module was looked for, with the file that its name stands for or a file alike."""
    here, file = Path.cwd(), f"{module.replace('.', '/')}.py"
    alike = closest(module, (path.stem for path in here.glob("*.py")))
    hint = did_you_mean(alike and f"{alike}.{cls}") or f"; put {cls} into {file} there, or start in its folder"
    return f"there is no module {module}: no {file} in the working folder {here}, and no such package{hint}"


def wrong_base(name: str, base: type) -> str | None:
    """Return why a class of the user's own does not fit where ``base`` is needed; None if it cannot be found."""
    module_name, _, cls = name.rpartition(".")
    module = sys.modules.get(module_name)
    own = module is not None and not name.startswith(PACKAGES)
    found = getattr(module, cls, None)
    if module is None or not own or found is None:
        return None
    kind = "derive it from" if isinstance(found, type) else "name a class below"
    return f"{cls} of {place(module)} is no {base.__name__}: {kind} {public(base)}.{base.__name__}"


def public(cls: type) -> str:
    """Return the shortest module that shows a class under its name."""
    parts = cls.__module__.split(".")
    packages = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
    return next(name for name in packages if getattr(sys.modules.get(name), cls.__name__, None) is cls)


def place(module: ModuleType) -> str:
    """Return the file of a module, or its name where it has none."""
    return shown(module.__file__) if module.__file__ else module.__name__
