"""The ``parameters`` of a sweep file, read by the rules of W&B's schema."""

import math
from typing import Any

from s2s_lightning.errors import UserError, closest, did_you_mean
from s2s_lightning.experiments.sweeps.space import KINDS, Parameter, Settings

KEYS = ("distribution", *dict.fromkeys(key for kind in KINDS.values() for key in (*kind.needs, *kind.defaults)))

LARGEST_EXPONENT = 700
"""e to the power of more is no floating-point number."""


def parameters(said: Any, where: str = "parameters", path: tuple[str, ...] = ()) -> list[Parameter]:
    """Return the parameters of a sweep file, nested ones in their place.

    Raises:
        UserError: a rule of W&B's schema is broken.
    """
    if not isinstance(said, dict) or not said:
        raise UserError(f"{where}={said!r}: it must map at least one parameter to its values")
    found = []
    for key, settings in said.items():
        here = f"{where}.{key}"
        if not isinstance(settings, dict):
            raise UserError(f"{here}={settings!r}: it must be a mapping, such as {{value: {settings}}}")
        if "parameters" in settings:
            found += parameters(settings["parameters"], f"{here}.parameters", (*path, str(key)))
        else:
            found.append(_parameter((*path, str(key)), settings, here))
    return found


def _parameter(path: tuple[str, ...], said: Settings, where: str) -> Parameter:
    for key in said:
        if key not in KEYS:
            raise UserError(f"{where}.{key} is nothing that W&B's sweeps know{did_you_mean(closest(str(key), KEYS))}")
    name = said.get("distribution") or _implied(said, where)
    if name not in KINDS:
        raise UserError(
            f"{where}.distribution={name!r} must be one of {', '.join(KINDS)}{did_you_mean(closest(str(name), KINDS))}"
        )
    kind = KINDS[name]
    given = {key: value for key, value in said.items() if key != "distribution"}
    for key in kind.needs:
        if key not in given:
            raise UserError(f"{where}: {name} needs {key}")
    for key in given:
        if key not in (*kind.needs, *kind.defaults):
            raise UserError(f"{where}.{key}: {name} takes only {', '.join((*kind.needs, *kind.defaults))}")
    settings = {**kind.defaults, **given}
    _check_values(name, settings, where)
    return Parameter(path, name, settings)


def _implied(said: Settings, where: str) -> str:
    """The distribution where none is named."""
    if "value" in said:
        return "constant"
    if "values" in said:
        return "categorical"
    if "min" in said and "max" in said:
        return "int_uniform" if all(_is_integer(said[key]) for key in ("min", "max")) else "uniform"
    raise UserError(f"{where}: it needs value, values, min and max, a distribution, or parameters of its own")


def _check_values(name: str, settings: Settings, where: str) -> None:
    for key in ("min", "max", "q", "mu", "sigma", "a", "b"):
        if key in settings and not _is_number(settings[key]):
            hint = f"; YAML reads {settings[key]} as text, write 1.0e-4" if "e" in str(settings[key]) else ""
            raise UserError(f"{where}.{key}={settings[key]!r}: it must be a number{hint}")
    for key in ("q", "a", "b"):
        if key in settings and not settings[key] > 0:
            raise UserError(f"{where}.{key}={settings[key]}: it must be above 0")
    if settings.get("sigma", 0) < 0:
        raise UserError(f"{where}.sigma={settings['sigma']}: it must be 0 or more")
    if "min" in settings:
        _check_bounds(name, settings, where)
    if "values" in settings:
        _check_categories(settings, where)


def _check_bounds(name: str, settings: Settings, where: str) -> None:
    low, high = settings["min"], settings["max"]
    if low > high:
        raise UserError(f"{where}: min={low} is above max={high}")
    if name == "int_uniform" and not (_is_integer(low) and _is_integer(high)):
        raise UserError(f"{where}: int_uniform needs integers as min and max, and has {low} and {high}")
    if KINDS[name].exponents and max(-low, high) > LARGEST_EXPONENT:
        raise UserError(f"{where}: min={low} and max={high} are exponents of e in {name}; {name}_values takes values")
    if name.endswith("_values") and low <= 0:
        raise UserError(f"{where}.min={low}: {name} needs it above 0")


def _check_categories(settings: Settings, where: str) -> None:
    values, probabilities = settings["values"], settings.get("probabilities")
    if not isinstance(values, list) or not values:
        raise UserError(f"{where}.values={values!r}: it must be a list of at least one value")
    if probabilities is None:
        return
    numbers = isinstance(probabilities, list) and all(_is_number(p) and p >= 0 for p in probabilities)
    if not numbers or len(probabilities) != len(values) or not sum(probabilities):
        raise UserError(f"{where}.probabilities={probabilities!r}: it must be a number of 0 or more for each value")


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
