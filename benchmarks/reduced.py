"""A configuration's network at a small width, for measurements at equal sizes and for tests of full-size recipes."""

import inspect
from pydoc import locate
from typing import Any

WIDTHS = "d_"
"""How the options that are widths begin."""


def reduced(spec: dict[str, Any], width: int, **others: Any) -> dict[str, Any]:
    """``{class_path, init_args}`` with every width, given or by default, at most ``width``; so in nested ones.

    Args:
        spec: of a class.
        width: the greatest width.
        others: further arguments, where the class has such.
    """
    owner: Any = locate(spec["class_path"])
    arguments = {name: _reduced(value, width, others) for name, value in spec.get("init_args", {}).items()}
    for name, parameter in inspect.signature(owner).parameters.items():
        value = arguments.get(name, parameter.default)
        if name.startswith(WIDTHS) and isinstance(value, int):
            arguments[name] = min(value, width)
        if name in others:
            arguments[name] = others[name]
    return {**spec, "init_args": arguments}


def _reduced(value: Any, width: int, others: dict[str, Any]) -> Any:
    if not isinstance(value, dict):
        return value
    if "class_path" in value:
        return reduced(value, width, **others)
    return {name: min(inner, width) if name.startswith(WIDTHS) else inner for name, inner in value.items()}
