"""Nulls in configurations: jsonargparse lets one pass for an option of any type."""

import inspect
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import jsonargparse

from s2s_lightning.errors import UserError


def refuse_nulls(owner: type, settings: Mapping[str, Any]) -> None:
    """Raises UserError for a null that a class of ours or of the user's takes for none of its arguments.

    An argument without a default, or without a type, is left to the class.
    """
    if owner.__module__.partition(".")[0] in ("torch", "lightning"):
        return
    for name, value in settings.items():
        if value is None and (found := _parameter(owner, name)) is not None:
            hint, default = found
            if default not in (None, inspect.Parameter.empty) and not _takes_none(hint):
                raise UserError(
                    f"{owner.__name__}: {name}=null: it must be {_readable(hint)}; leave it out for {default!r}"
                )


def _parameter(owner: type, name: str) -> tuple[Any, Any] | None:
    """Return type and default of an argument, of the first class that names it or of what its ``**options`` reach."""
    for cls in owner.__mro__:
        initialise = vars(cls).get("__init__")
        if inspect.isfunction(initialise) and name in (parameters := inspect.signature(initialise).parameters):
            try:
                return get_type_hints(initialise, include_extras=True).get(name, Any), parameters[name].default
            except (NameError, TypeError):  # a type that is imported for type checking alone
                return None
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(owner, fail_untyped=False)
    found = (action for action in parser._actions if action.dest == name)
    return next(((getattr(action, "_typehint", Any), action.default) for action in found), None)


def _takes_none(hint: Any) -> bool:
    if get_origin(hint) is Annotated:
        return _takes_none(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        return any(map(_takes_none, get_args(hint)))
    return hint in (Any, None, NoneType, object) or isinstance(hint, TypeVar)


def _readable(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).removeprefix("typing.")
