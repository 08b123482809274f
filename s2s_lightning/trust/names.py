"""Class names that stand in a file: looked up among known classes, never imported because the file says so.

A name is known if the class is one of this package, of the optimizers of torch, or of the callbacks and loggers of
Lightning. It is also known if the program has imported it already as a subclass of what the slot expects. Any other
name needs the trust of the user: ``--trust MODULE``, ``load(trust=[...])``, or a checkpoint that the user wrote
(``signature``).
"""

import os
import re
import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from s2s_lightning import PROGRAM
from s2s_lightning.errors import UserError, located
from s2s_lightning.trust.former import FORMER, former_names
from s2s_lightning.trust.own_classes import no_class

T = TypeVar("T")

DOTTED = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)+")
"""Pattern of what can be the full name of a class or a function."""

VARIABLE = "S2S_LIGHTNING_TRUST"
"""Environment variable of trusted modules, by which the processes of a run trust the same; commas between them."""

_allowed: set[str] = set()


def allow(value: Any) -> None:
    """Let this process import each name in a value: it comes from a file that the user wrote."""
    _allowed.update(mentioned(value))


def trust(modules: Iterable[str]) -> None:
    """Let this process import modules that a file names, and say where they are.

    Raises:
        UserError: there is no such module.
    """
    for name in modules:
        try:
            spec = find_spec(name)
        except (ImportError, ValueError):
            spec = None
        if spec is None:
            raise UserError(f"--trust {name}: there is no such module; give its name, such as my_model for my_model.py")
        if name not in trusted():
            print(f"trusted: {name}, imported from {spec.origin}", file=sys.stderr)
            os.environ[VARIABLE] = ",".join([*trusted(), name])


def trusted() -> list[str]:
    """Return the modules that the user trusts."""
    return [name for name in os.environ.get(VARIABLE, "").split(",") if name]


def is_trusted(name: str) -> bool:
    """True if the user trusts the module of a dotted name, or a package above it."""
    parts, modules = name.split("."), trusted()
    return name in _allowed or any(".".join(parts[:n]) in modules for n in range(1, len(parts) + 1))


def allowed() -> set[str]:
    """Return the names and modules that the user trusts."""
    return {*_allowed, *trusted()}


def mentioned(value: Any) -> set[str]:
    """Return each dotted name in the strings of a value."""
    if isinstance(value, str):
        return set(DOTTED.findall(value))
    if isinstance(value, dict):
        return {name for key, each in value.items() for part in (key, each) for name in mentioned(part)}
    if isinstance(value, list | tuple):
        return {name for each in value for name in mentioned(each)}
    return set()


def full_name(cls: type) -> str:
    """Return the name under which a file keeps a class: the shortest that a package around its module shows."""
    return min(names_of(cls), key=len)


def names_of(cls: type) -> Iterator[str]:
    """Yield the full name of a class, and those under which the packages around its module show it."""
    yield f"{cls.__module__}.{cls.__qualname__}"
    parts = cls.__module__.split(".")
    for end in range(1, len(parts)):
        package = ".".join(parts[:end])
        if getattr(sys.modules.get(package), cls.__name__, None) is cls:
            yield f"{package}.{cls.__name__}"


def with_public_names(value: Any) -> Any:
    """Return a configuration in which each class that is imported has its ``full_name``, also if it had another."""
    if isinstance(value, dict):
        return {
            key: _public_name(each) if key == "class_path" and isinstance(each, str) else with_public_names(each)
            for key, each in value.items()
        }
    return [with_public_names(each) for each in value] if isinstance(value, list) else value


def _public_name(name: str) -> str:
    module, _, cls_name = name.rpartition(".")
    cls = getattr(sys.modules.get(FORMER.get(module, module)), cls_name, None)
    return full_name(cls) if isinstance(cls, type) else name


def known(base: type[T]) -> dict[str, type[T]]:
    """Return each name of each imported class below ``base``, former ones included."""
    classes, names = [base], {}
    while classes:
        cls = classes.pop()
        classes += type.__subclasses__(cls)
        names.update(dict.fromkeys([*names_of(cls), *former_names(cls.__module__, cls.__qualname__)], cls))
    return names


def lookup(name: str, base: type[T], file: object) -> type[T]:
    """Return the class of a name that stands in a file.

    Args:
        name: the full name; never used as a path to walk unless its module is trusted.
        base: what the class must be a subclass of.
        file: where the name stands, for the message.

    Raises:
        UserError: the name is not known and its module is not trusted, or the class is another kind of thing.
    """
    cls: Any = known(base).get(name)
    if cls is None and is_trusted(name):
        cls = _imported(name, file)
    if cls is None and is_trusted(name) and (problem := no_class(name)):
        raise UserError(f"{file} names {name}, but {problem}")
    if cls is None:
        raise UserError(unknown(name, file, base.__name__))
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise UserError(f"{file} names {name}, which is no {base.__name__}")
    return cls


def unknown(name: str, file: object, kind: str = "class") -> str:
    """Return the line that refuses a name."""
    module, copies = name.rpartition(".")[0] or name, Path(str(file)) / "own_code.zip"
    where = f"; a copy of its code is in {copies}" if copies.is_file() else ""
    return (
        f"{file} names the {kind} {name}, which is not part of s2s_lightning; it is not imported, for that runs its "
        f"code: if you trust it, add --trust {module} ({PROGRAM} COMMAND --trust {module}, or load(..., trust=[...]))"
        f"{where}"
    )


def _imported(name: str, file: object) -> Any:
    """Import a class of a trusted module; nested classes are found by their qualified name."""
    parts = name.split(".")
    for end in range(len(parts) - 1, 0, -1):
        try:
            found: Any = import_module(".".join(parts[:end]))
        except ModuleNotFoundError as error:
            if error.name and ".".join(parts[:end]).startswith(error.name):
                continue
            raise UserError(f"{file} needs {name}: {located(error)}") from error
        except (Exception, SystemExit) as error:
            raise UserError(f"{file} needs {name}: {located(error)}") from error
        for part in parts[end:]:
            found = getattr(found, part, None)
        return found
    raise UserError(
        f"{file} needs the module {parts[0]}, which is not on the path; run from its folder, or set PYTHONPATH"
    )
